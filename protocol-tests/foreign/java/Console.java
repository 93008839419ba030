import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import org.apache.kafka.common.utils.Exit;

/** Kafka's command-line tools, run one after another inside this machine: a start of Java costs a second or two. */
final class Console {
    /** What a tool wrote, and its exit code. */
    record Output(int code, String out, String err) {
        Output succeeded() {
            Suite.equal(code, 0, "exit code; it wrote: " + out + err);
            return this;
        }

        Output says(String pattern) {
            Suite.holds(Pattern.compile(pattern).matcher(out + err).find(), "no `" + pattern + "` in: " + out + err);
            return this;
        }

        List<String> lines() {
            return out.lines().map(String::strip).filter(line -> !line.isEmpty() && !line.matches("Option .* is deprecated .*")).toList();
        }

        /** The row of a table whose first columns are these, in columns; empty when there is none. */
        List<String> row(String... first) {
            return lines().stream().map(line -> List.of(line.split("\\s+")))
                    .filter(row -> row.size() >= first.length && row.subList(0, first.length).equals(List.of(first)))
                    .findFirst().orElse(List.of());
        }
    }

    /** Stands for the end of the process. */
    private static final class Exited extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    /** One stream for all runs: Scala's tools keep the stream that they found first. */
    private static final class Switched extends OutputStream {
        OutputStream target;

        Switched(OutputStream target) {
            this.target = target;
        }

        @Override
        public void write(int value) throws IOException {
            target.write(value);
        }

        @Override
        public void write(byte[] bytes, int from, int count) throws IOException {
            target.write(bytes, from, count);
        }

        @Override
        public void flush() throws IOException {
            target.flush();
        }
    }

    private static final PrintStream REAL_OUT = System.out, REAL_ERR = System.err;
    private static final Switched OUT = new Switched(REAL_OUT), ERR = new Switched(REAL_ERR);

    static {
        System.setOut(new PrintStream(OUT, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(ERR, true, StandardCharsets.UTF_8));
    }

    private Console() {}

    static Output run(String tool, String... arguments) throws Exception {
        return type("", tool, arguments);
    }

    static Output type(String input, String tool, String... arguments) throws Exception {
        List<String> all = new ArrayList<>(List.of(arguments));
        // Five seconds otherwise, which a machine with other work may need.
        if (tool.endsWith(".ConsumerGroupCommand")) all.addAll(List.of("--timeout", "60000"));
        InputStream in = System.in;
        ByteArrayOutputStream written = new ByteArrayOutputStream(), complained = new ByteArrayOutputStream();
        int[] code = {-1};
        Exit.Procedure leave = (status, message) -> {
            if (message != null) System.err.println(message);
            if (code[0] < 0) code[0] = status;
            throw new Exited();
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        List<Runnable> hooks = new ArrayList<>();
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        OUT.target = written;
        ERR.target = complained;
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) all.toArray(String[]::new));
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Exited)) throw thrown;
        } finally {
            hooks.forEach(Runnable::run);
            OUT.target = REAL_OUT;
            ERR.target = REAL_ERR;
            System.setIn(in);
            Exit.resetExitProcedure();
            Exit.resetHaltProcedure();
        }
        return new Output(Math.max(code[0], 0), written.toString(StandardCharsets.UTF_8), complained.toString(StandardCharsets.UTF_8));
    }

    /** A tool's class, wherever this version of Kafka keeps it. */
    static String first(String... names) {
        for (String name : names) {
            try {
                return Class.forName(name, false, Console.class.getClassLoader()).getName();
            } catch (ClassNotFoundException elsewhere) {
                // The next name, then.
            }
        }
        throw new IllegalStateException("none of " + List.of(names) + " is on the class path");
    }
}
