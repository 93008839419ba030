import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;

/** What must be true of a broker when Kafka's console tools ask: Tools BOOTSTRAP NAME, the name as it is to be printed. */
public final class Tools {
    private static final String TOPICS = "org.apache.kafka.tools.TopicCommand";
    private static final String GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    private static final String OFFSETS = "org.apache.kafka.tools.GetOffsetShell";
    private static final String CONFIGS = "kafka.admin.ConfigCommand";
    private static final String CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    private static final String PRODUCER = Console.first("org.apache.kafka.tools.ConsoleProducer", "kafka.tools.ConsoleProducer");

    private final Suite suite;
    private final Admin admin;

    private Tools(Suite suite, Admin admin) {
        this.suite = suite;
        this.admin = admin;
    }

    public static void main(String[] arguments) {
        Suite suite = new Suite(arguments[1], arguments[0]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            new Tools(suite, admin).playAll();
            System.exit(suite.finish(admin));
        }
    }

    private void playAll() {
        suite.scenario("topics_are_created_described_grown_and_deleted", this::topics);
        suite.scenario("wrong_requests_for_topics_are_refused", this::wrongRequests);
        suite.scenario("what_the_console_writes_the_console_reads", this::console);
        suite.scenario("offsets_are_listed_by_every_spec", this::offsets);
        suite.scenario("settings_of_topics_and_brokers_are_readable", this::settings);
        suite.scenario("a_group_is_listed_described_reset_and_deleted", this::groups);
        suite.scenario("offsets_of_a_group_without_members_are_set_and_deleted", this::deleteOffsets);
    }

    private Console.Output run(String tool, String... arguments) throws Exception {
        return type("", tool, arguments);
    }

    private Console.Output type(String input, String tool, String... arguments) throws Exception {
        List<String> all = new ArrayList<>(List.of("--bootstrap-server", suite.bootstrap));
        all.addAll(Arrays.asList(arguments));
        return Console.type(input, tool, all.toArray(String[]::new));
    }

    private String topic(int partitions, String... more) throws Exception {
        String topic = suite.fresh();
        List<String> arguments = new ArrayList<>(List.of("--create", "--topic", topic, "--partitions", "" + partitions));
        arguments.addAll(Arrays.asList(more));
        run(TOPICS, arguments.toArray(String[]::new)).succeeded();
        Suite.until(() -> partitions(topic) == partitions, () -> topic + " is created");
        return topic;
    }

    /** As `--describe` counts them; 0 when there is no such topic. */
    private long partitions(String topic) throws Exception {
        return run(TOPICS, "--describe", "--topic", topic).out().lines()
                .filter(line -> line.contains("Topic: " + topic) && line.contains("Partition: ") && line.contains("Leader: ")).count();
    }

    private void produce(String topic, String lines, String... more) throws Exception {
        List<String> arguments = new ArrayList<>(List.of("--topic", topic));
        arguments.addAll(Arrays.asList(more));
        type(lines, PRODUCER, arguments.toArray(String[]::new)).succeeded();
    }

    private void topics() throws Exception {
        String topic = topic(2);
        Suite.holds(run(TOPICS, "--list").succeeded().lines().contains(topic), "the topic is listed");
        run(TOPICS, "--alter", "--topic", topic, "--partitions", "5").succeeded();
        Suite.until(() -> partitions(topic) == 5, () -> "the topic has grown");
        run(TOPICS, "--delete", "--topic", topic).succeeded();
        Suite.until(() -> !run(TOPICS, "--list").succeeded().lines().contains(topic), () -> "the topic is gone");
    }

    private void wrongRequests() throws Exception {
        String topic = topic(2);
        refused("already exists", "--create", "--topic", topic);
        refused("(?s).*", "--alter", "--topic", topic, "--partitions", "1");
        refused("Unknown topic config name", "--create", "--topic", suite.fresh(), "--config", "no.such.config=1");
        refused("does not exist", "--describe", "--topic", suite.fresh());
        refused("does not exist", "--delete", "--topic", suite.fresh());
        run(TOPICS, "--create", "--topic", topic, "--if-not-exists").succeeded();
    }

    private void refused(String words, String... arguments) throws Exception {
        Suite.equal(run(TOPICS, arguments).says(words).code(), 1, "exit code of " + List.of(arguments));
    }

    private void console() throws Exception {
        for (String codec : Records.CODECS) {
            String topic = topic(1);
            produce(topic, "a:1,b:2\tkey\tvalue\nnone:\tkey 2\twith spaces\n", "--compression-codec", codec,
                    "--property", "parse.key=true", "--property", "parse.headers=true");
            List<String> got = run(CONSUMER, "--topic", topic, "--from-beginning", "--max-messages", "2", "--timeout-ms", "120000",
                    "--property", "print.key=true", "--property", "print.headers=true", "--property", "print.partition=true",
                    "--property", "print.offset=true").succeeded().lines();
            Suite.equal(got, List.of("Partition:0\tOffset:0\ta:1,b:2\tkey\tvalue", "Partition:0\tOffset:1\tnone:\tkey 2\twith spaces"), codec);
        }
    }

    private void offsets() throws Exception {
        String topic = topic(2);
        produce(topic, "k\t1\nk\t2\nk\t3\n", "--property", "parse.key=true");
        List<String> written = offsetsBy(topic, "-1");
        int place = written.get(0).endsWith(":3") ? 0 : 1;
        Suite.equal(written.get(place), topic + ":" + place + ":3", "latest");
        Suite.equal(offsetsBy(topic, "latest"), written, "latest by name");
        Suite.equal(offsetsBy(topic, "-2"), List.of(topic + ":0:0", topic + ":1:0"), "earliest");
        Suite.equal(offsetsBy(topic, "earliest"), List.of(topic + ":0:0", topic + ":1:0"), "earliest by name");
        Suite.equal(offsetsBy(topic, "0").get(0), topic + ":" + place + ":0", "by time");
        Suite.holds(List.of(":0", ":1", ":2").contains(offsetsBy(topic, "max-timestamp").get(0).substring((topic + ":" + place).length())), "max timestamp");
    }

    private List<String> offsetsBy(String topic, String time) throws Exception {
        return run(OFFSETS, "--topic", topic, "--time", time).succeeded().lines();
    }

    private void settings() throws Exception {
        String topic = topic(1, "--config", "retention.ms=7200000");
        String given = run(CONFIGS, "--describe", "--entity-type", "topics", "--entity-name", topic).succeeded().out();
        Suite.holds(given.contains("retention.ms=7200000"), given);
        String all = run(CONFIGS, "--describe", "--all", "--entity-type", "topics", "--entity-name", topic).succeeded().out();
        Suite.holds(all.contains("max.message.bytes=1048588"), all);
        String id = admin.describeCluster().nodes().get().iterator().next().idString();
        String broker = run(CONFIGS, "--describe", "--all", "--entity-type", "brokers", "--entity-name", id).succeeded().out();
        Suite.holds(broker.contains("message.max.bytes=1048588"), broker);
    }

    private void groups() throws Exception {
        String topic = topic(1), group = suite.fresh();
        produce(topic, "1\n2\n3\n4\n5\n");
        List<String> read = run(CONSUMER, "--topic", topic, "--group", group, "--from-beginning", "--max-messages", "4", "--timeout-ms", "120000",
                "--consumer-property", "max.poll.records=1").succeeded().lines();
        Suite.equal(read, List.of("1", "2", "3", "4"), "what the group read");
        Suite.holds(run(GROUPS, "--list").succeeded().lines().contains(group), "the group is listed");
        lag(group, topic, "4", "5", "1");
        String state = run(GROUPS, "--describe", "--group", group, "--state").succeeded().out();
        Suite.holds(state.contains("Empty"), state);
        run(GROUPS, "--describe", "--group", group, "--members").succeeded().says("has no active members");
        for (List<String> reset : List.of(List.of("--to-earliest", "0"), List.of("--to-latest", "5"), List.of("--shift-by", "-2", "3"),
                List.of("--to-offset", "1", "1"), List.of("--to-datetime", "2020-01-01T00:00:00.000", "0"))) {
            List<String> arguments = new ArrayList<>(List.of("--reset-offsets", "--group", group, "--topic", topic, "--execute"));
            arguments.addAll(reset.subList(0, reset.size() - 1));
            run(GROUPS, arguments.toArray(String[]::new)).succeeded();
            String want = reset.get(reset.size() - 1);
            lag(group, topic, want, "5", "" + (5 - Integer.parseInt(want)));
        }
        run(GROUPS, "--delete", "--group", group).succeeded().says("was successful");
        Suite.holds(!run(GROUPS, "--list").succeeded().lines().contains(group), "the group is still listed");
        run(GROUPS, "--describe", "--group", group).says("(does not exist|not found)");
    }

    private void deleteOffsets() throws Exception {
        String topic = topic(2), group = suite.fresh();
        run(GROUPS, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute").succeeded();
        Suite.equal(run(GROUPS, "--describe", "--group", group).succeeded().row(group, topic, "1").subList(3, 6), List.of("0", "0", "0"), "row");
        run(GROUPS, "--delete-offsets", "--group", group, "--topic", topic + ":1").succeeded().says("Successful");
        Console.Output left = run(GROUPS, "--describe", "--group", group).succeeded();
        Suite.equal(left.row(group, topic, "0").subList(3, 6), List.of("0", "0", "0"), "the offset that is left");
        Suite.equal(left.row(group, topic, "1"), List.of(), "the offset that is gone");
    }

    /** `--describe` gives a row: group, topic, partition, current offset, log end offset, lag. */
    private void lag(String group, String topic, String committed, String end, String lag) throws Exception {
        List<String> row = run(GROUPS, "--describe", "--group", group).succeeded().row(group, topic, "0");
        Suite.holds(row.size() >= 6, "no row for the group");
        Suite.equal(row.subList(3, 6), List.of(committed, end, lag), "committed, end and lag");
    }
}
