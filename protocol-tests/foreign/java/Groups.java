import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;

/** Kafka's console tools and groups of the consumer protocol (KIP-848): Groups BOOTSTRAP NAME, the name as it is to be printed. */
public final class Groups {
    private static final String TOPICS = "org.apache.kafka.tools.TopicCommand";
    private static final String GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    private static final String CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    private static final String PRODUCER = Console.first("org.apache.kafka.tools.ConsoleProducer", "kafka.tools.ConsoleProducer");

    private final Suite suite;

    private Groups(Suite suite) {
        this.suite = suite;
    }

    public static void main(String[] arguments) {
        Suite suite = new Suite(arguments[1], arguments[0]);
        Groups groups = new Groups(suite);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            suite.scenario("the_console_consumer_reads_in_a_group", groups::console);
            for (String assignor : List.of("uniform", "range")) {
                suite.scenario("a_group_with_members_is_described:" + assignor, () -> groups.described(assignor));
            }
            System.exit(suite.finish(admin));
        }
    }

    private Console.Output run(String tool, String... arguments) throws Exception {
        List<String> all = new ArrayList<>(List.of("--bootstrap-server", suite.bootstrap));
        all.addAll(Arrays.asList(arguments));
        return Console.run(tool, all.toArray(String[]::new));
    }

    private String topic(int partitions) throws Exception {
        String topic = suite.fresh();
        run(TOPICS, "--create", "--topic", topic, "--partitions", "" + partitions).succeeded();
        return topic;
    }

    private void produce(String topic, String lines) throws Exception {
        Console.type(lines, PRODUCER, "--bootstrap-server", suite.bootstrap, "--topic", topic).succeeded();
    }

    private List<String> read(String topic, String group, int count) throws Exception {
        return run(CONSUMER, "--topic", topic, "--group", group, "--from-beginning", "--max-messages", "" + count, "--timeout-ms", "120000",
                "--consumer-property", "group.protocol=consumer", "--consumer-property", "max.poll.records=1").succeeded().lines();
    }

    private void console() throws Exception {
        String topic = topic(1), group = suite.fresh();
        produce(topic, "1\n2\n3\n4\n5\n");
        Suite.equal(read(topic, group, 3), List.of("1", "2", "3"), "what the group read");
        Suite.equal(read(topic, group, 2), List.of("4", "5"), "what it read when it came back");
        String listed = run(GROUPS, "--list", "--type", "consumer", "--state").succeeded().out();
        Suite.holds(listed.lines().anyMatch(line -> line.matches(group + "\\s+(?i)consumer\\s+Empty\\s*") || line.matches(group + "\\s+Empty\\s*")), listed);
        List<String> row = run(GROUPS, "--describe", "--group", group).succeeded().row(group, topic, "0");
        Suite.equal(row.subList(3, 6), List.of("5", "5", "0"), "committed, end and lag");
        run(GROUPS, "--reset-offsets", "--group", group, "--topic", topic, "--to-offset", "2", "--execute").succeeded();
        Suite.equal(read(topic, group, 3), List.of("3", "4", "5"), "what it read again");
        run(GROUPS, "--delete", "--group", group).succeeded().says("was successful");
    }

    private void described(String assignor) throws Exception {
        String topic = topic(6), group = suite.fresh();
        Map<String, Object> settings = Map.of("group.id", group, "group.protocol", "consumer", "group.remote.assignor", assignor);
        try (Member first = new Member(suite.bootstrap, topic, settings)) {
            Suite.until(() -> first.assignment.size() == 6, first::toString);
            try (Member second = new Member(suite.bootstrap, topic, settings)) {
                Suite.until(() -> first.assignment.size() == 3 && second.assignment.size() == 3, () -> first + " and " + second);
                Suite.until(() -> state(group).contains("Stable"), () -> "the group is stable");
                Suite.holds(state(group).matches("(?s).*" + assignor + "\\s+Stable\\s+.*2\\s*"), state(group));
                String members = run(GROUPS, "--describe", "--group", group, "--members", "--verbose").succeeded().out();
                Suite.equal(members.lines().filter(line -> line.startsWith(group)).count(), 2L, "members in " + members);
                Suite.holds(members.contains("CURRENT-EPOCH") && members.contains("TARGET-ASSIGNMENT"), members);
                Suite.equal(run(GROUPS, "--describe", "--group", group).succeeded().lines().stream().filter(line -> line.startsWith(group)).count(), 6L, "partitions");
                run(GROUPS, "--delete", "--group", group).says("not empty");
                second.leave();
            }
            Suite.until(() -> first.assignment.size() == 6, first::toString);
            first.leave();
        }
        Suite.until(() -> state(group).contains("Empty"), () -> "the group is empty");
    }

    private String state(String group) throws Exception {
        return run(GROUPS, "--describe", "--group", group, "--state").succeeded().out();
    }
}
