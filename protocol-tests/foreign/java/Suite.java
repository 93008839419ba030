import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import org.apache.kafka.clients.admin.Admin;

/** Plays scenarios one after another: a line for each, names that nobody else uses, topics deleted afterwards. */
final class Suite {
    interface Scenario {
        void play() throws Exception;
    }

    final String bootstrap;
    private final String client;
    private final String prefix;
    private final List<String> given = new ArrayList<>();
    private int failures;

    Suite(String client, String bootstrap) {
        this.client = client;
        this.bootstrap = bootstrap;
        this.prefix = "foreign-" + client + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    void scenario(String name, Scenario scenario) {
        long began = System.nanoTime();
        String verdict = "ok  ", remark = "";
        try {
            scenario.play();
        } catch (Exception | AssertionError error) {
            error.printStackTrace();
            failures++;
            verdict = "FAIL";
            remark = "; " + error;
        }
        System.out.printf("%s %s %s (%.1f s)%s%n", verdict, client, name, (System.nanoTime() - began) / 1e9, remark);
    }

    String fresh() {
        given.add(prefix + "-" + given.size());
        return given.get(given.size() - 1);
    }

    /** Deletes what was made; the program's exit code. */
    int finish(Admin admin) {
        admin.deleteTopics(given).topicNameValues().values().forEach(done -> {
            try {
                done.get();
            } catch (Exception gone) {
                // Deleted already, never made, or the name of a group.
            }
        });
        return failures == 0 ? 0 : 1;
    }

    static <T> void equal(T got, T want, String what) {
        if (!Objects.equals(got, want)) throw new AssertionError(what + ": got " + excerpt(got) + ", want " + excerpt(want));
    }

    private static String excerpt(Object value) {
        String text = String.valueOf(value);
        return text.length() <= 600 ? text : text.substring(0, 600) + " ...";
    }

    static void holds(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    /** Asks again and again; the deadline is generous, since a busy machine is no fault. */
    static void until(Callable<Boolean> condition, Supplier<String> what) throws Exception {
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (!condition.call()) {
            if (System.nanoTime() > deadline) throw new AssertionError("not within 120 s: " + what.get());
            Thread.sleep(20);
        }
    }
}
