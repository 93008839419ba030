import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/**
 * Accounts for every login record after the pipeline has been over them, with Java's own clients:
 * Judge BOOTSTRAP MANIFEST GROUP INPUT OUTPUT DEAD [duplicates]. The manifest is that of login_records.py; `duplicates` lets a
 * record stand on its side more than once, as after a crash.
 */
public final class Judge {
    private static final Pattern STAMP = Pattern.compile(",\"processed_at\":\"([^\"]+)\"}$");
    private static final List<String> ORIGIN = List.of("__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset", "highwater.reason");

    /** What the manifest says of a record. */
    private record Expected(String side, String kind) {}

    private final Suite suite;
    private final String group;
    private final boolean duplicates;
    private final Map<String, Expected> manifest = new HashMap<>();
    private final Map<String, ConsumerRecord<byte[], byte[]>> input = new HashMap<>();
    private final List<ConsumerRecord<byte[], byte[]>> output;
    private final List<ConsumerRecord<byte[], byte[]>> dead;
    private final Map<TopicPartition, Long> ends;

    private Judge(String[] arguments) throws Exception {
        suite = new Suite("judge", arguments[0]);
        group = arguments[2];
        duplicates = arguments.length > 6;
        for (String line : Files.readAllLines(Path.of(arguments[1]))) {
            String[] columns = line.split("\t");
            manifest.put(columns[0], new Expected(columns[1], columns[2]));
        }
        try (KafkaConsumer<byte[], byte[]> consumer = Records.consumer(arguments[0], Map.of("fetch.max.bytes", 10_000_000))) {
            ends = ends(consumer, arguments[3]);
            for (ConsumerRecord<byte[], byte[]> record : all(consumer, arguments[3])) {
                Suite.equal(input.put(identity(record), record), null, "the id is there twice: " + identity(record));
            }
            output = all(consumer, arguments[4]);
            dead = all(consumer, arguments[5]);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Judge judge = new Judge(arguments);
        judge.suite.scenario("the_input_is_what_the_manifest_says", judge::inputIsComplete);
        judge.suite.scenario("every_record_is_on_its_side", judge::everyRecordIsOnItsSide);
        judge.suite.scenario("accepted_records_are_untouched_but_for_their_stamp", judge::acceptedAreUntouched);
        judge.suite.scenario("dead_letters_are_untouched_and_say_why", judge::deadAreUntouched);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", judge.suite.bootstrap))) {
            judge.suite.scenario("every_offset_is_committed_and_the_lag_is_0", () -> judge.allIsCommitted(admin));
            judge.tell();
            System.exit(judge.suite.finish(admin));
        }
    }

    private static Map<TopicPartition, Long> ends(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        List<PartitionInfo> partitions = consumer.partitionsFor(topic);
        return consumer.endOffsets(partitions.stream().map(p -> new TopicPartition(topic, p.partition())).toList());
    }

    private static List<ConsumerRecord<byte[], byte[]>> all(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        Map<TopicPartition, Long> ends = ends(consumer, topic);
        consumer.assign(ends.keySet());
        consumer.seekToBeginning(ends.keySet());
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (!ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue())) {
            Suite.holds(System.nanoTime() < deadline, topic + " cannot be read to its end");
            consumer.poll(java.time.Duration.ofMillis(200)).forEach(records::add);
        }
        return records;
    }

    private static String identity(ConsumerRecord<byte[], byte[]> record) {
        if (record.key() != null && record.key().length > 0) return Records.text(record.key());
        Header id = record.headers().lastHeader("id");
        return id == null ? "nobody at offset " + record.offset() : Records.text(id.value());
    }

    private void inputIsComplete() {
        Suite.equal(input.size(), manifest.size(), "records in the input");
        Suite.equal(input.keySet(), manifest.keySet(), "ids in the input");
    }

    private void everyRecordIsOnItsSide() {
        Set<String> accepted = identities(output), refused = identities(dead);
        List<String> wrong = new ArrayList<>();
        manifest.forEach((id, expected) -> {
            boolean isOutput = accepted.contains(id), isDead = refused.contains(id), wanted = expected.side.equals("output");
            if (isOutput != wanted || isDead == wanted) wrong.add(id + " (" + expected.kind + ") output: " + isOutput + ", dead: " + isDead);
        });
        Suite.holds(wrong.isEmpty(), wrong.size() + " are not where they belong, such as " + wrong.stream().limit(10).toList());
        Set<String> strangers = new HashSet<>(accepted);
        strangers.addAll(refused);
        strangers.removeAll(manifest.keySet());
        Suite.holds(strangers.isEmpty(), "nobody sent these: " + strangers.stream().limit(10).toList());
        int came = output.size() + dead.size();
        if (duplicates) Suite.holds(came >= manifest.size(), came + " came of " + manifest.size());
        else Suite.equal(came, manifest.size(), "records in output and dead letters together");
    }

    private static Set<String> identities(List<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(Judge::identity).collect(Collectors.toSet());
    }

    private void acceptedAreUntouched() {
        for (ConsumerRecord<byte[], byte[]> record : output) {
            ConsumerRecord<byte[], byte[]> sent = input.get(identity(record));
            String what = "the accepted record " + identity(record);
            String value = Records.text(record.value());
            Matcher stamp = STAMP.matcher(value);
            Suite.holds(stamp.find(), what + " has no stamp at its end: " + excerpt(value));
            Instant.parse(stamp.group(1));
            String before = Records.text(sent.value()).stripTrailing();
            Suite.equal(value.substring(0, stamp.start()), before.substring(0, before.length() - 1), what + ", its value");
            Suite.equal(rest(record, List.of(record.headers().toArray())), rest(sent, List.of(sent.headers().toArray())), what);
        }
    }

    private void deadAreUntouched() {
        for (ConsumerRecord<byte[], byte[]> record : dead) {
            ConsumerRecord<byte[], byte[]> sent = input.get(identity(record));
            String what = "the dead letter " + identity(record);
            List<Header> headers = List.of(record.headers().toArray());
            int own = sent.headers().toArray().length;
            Suite.holds(headers.size() > own, what + " has no headers that say why");
            Suite.equal(rest(record, headers.subList(0, own)), rest(sent, List.of(sent.headers().toArray())), what);
            Suite.holds(java.util.Arrays.equals(record.value(), sent.value()), what + ": its value was changed");
            Map<String, String> added = headers.subList(own, headers.size()).stream()
                    .collect(Collectors.toMap(Header::key, header -> Records.text(header.value())));
            Suite.holds(added.keySet().containsAll(ORIGIN), what + " does not say " + ORIGIN + ": " + added);
            Suite.equal(added.get(ORIGIN.get(0)), sent.topic(), what + ", whence");
            Suite.equal(added.get(ORIGIN.get(1)), "" + sent.partition(), what + ", whence");
            Suite.equal(added.get(ORIGIN.get(2)), "" + sent.offset(), what + ", whence");
            Suite.holds(!added.get(ORIGIN.get(3)).isEmpty(), what + " gives an empty reason");
        }
    }

    /** All of a record that the pipeline never changes but the value, which each side treats in its way. */
    private static String rest(ConsumerRecord<byte[], byte[]> record, List<Header> headers) {
        return Records.sent(record.key(), null, headers, record.timestamp());
    }

    private static String excerpt(String text) {
        return text.length() <= 200 ? text : text.substring(0, 100) + " ... " + text.substring(text.length() - 100);
    }

    private void allIsCommitted(Admin admin) throws Exception {
        Map<TopicPartition, Long> committed = new HashMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((place, at) -> committed.put(place, at.offset()));
        Suite.equal(committed, ends, "the committed offsets of " + group + " beside the ends");
        List<String> rows = Console.run("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
                "--bootstrap-server", suite.bootstrap, "--describe", "--group", group).succeeded().lines();
        long settled = rows.stream().map(row -> row.split("\\s+")).filter(row -> row[0].equals(group) && row[5].equals("0")).count();
        Suite.equal(settled, (long) ends.size(), "partitions without lag, in " + rows);
    }

    private void tell() {
        Map<String, Integer> reasons = new TreeMap<>();
        for (ConsumerRecord<byte[], byte[]> record : dead) {
            Header reason = record.headers().lastHeader("highwater.reason");
            reasons.merge(reason == null ? "none" : Records.text(reason.value()), 1, Integer::sum);
        }
        int more = output.size() + dead.size() - input.size();
        String rest = more == 0 ? "" : more > 0 ? ", " + more + " of them more than once" : ", " + -more + " are missing";
        System.out.printf("account: %d sent, %d accepted + %d dead-lettered%s; reasons %s%n", input.size(), output.size(), dead.size(), rest, reasons);
    }
}
