import static org.apache.kafka.clients.admin.OffsetSpec.earliest;
import static org.apache.kafka.clients.admin.OffsetSpec.earliestLocal;
import static org.apache.kafka.clients.admin.OffsetSpec.forTimestamp;
import static org.apache.kafka.clients.admin.OffsetSpec.latest;
import static org.apache.kafka.clients.admin.OffsetSpec.latestTiered;
import static org.apache.kafka.clients.admin.OffsetSpec.maxTimestamp;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.NoOffsetForPartitionException;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.utils.Utils;

/** What must be true of a broker when Java's own clients ask: Clients BOOTSTRAP NAME, the name as it is to be printed. */
public final class Clients {
    private final Suite suite;
    private final String bootstrap;
    private final Admin admin;

    private Clients(String name, String bootstrap) {
        this.suite = new Suite(name, bootstrap);
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) {
        Clients clients = new Clients(arguments[1], arguments[0]);
        clients.playAll();
        System.exit(clients.suite.finish(clients.admin));
    }

    private void playAll() {
        suite.scenario("topics_are_created_described_grown_and_deleted", this::topics);
        suite.scenario("wrong_requests_for_topics_are_refused_by_name", this::wrongRequests);
        suite.scenario("every_codec_keeps_every_byte", this::codecs);
        suite.scenario("idempotent_and_plain_producers_write_each_record_once_and_in_order", this::producers);
        suite.scenario("a_key_goes_to_the_partition_that_java_would_choose", this::keys);
        suite.scenario("reading_starts_at_the_beginning_an_offset_or_a_time", this::starts);
        suite.scenario("an_offset_out_of_range_is_reset_or_reported", this::outOfRange);
        suite.scenario("offsets_are_listed_by_every_spec", this::offsets);
        suite.scenario("a_record_that_is_too_large_is_refused", this::tooLarge);
        suite.scenario("settings_of_topics_and_brokers_are_readable", this::settings);
        suite.scenario("append_time_replaces_the_senders_time", this::appendTime);
        suite.scenario("the_cluster_describes_itself", this::cluster);
        for (String assignor : List.of("RangeAssignor", "CooperativeStickyAssignor")) {
            suite.scenario("a_group_shares_out_partitions_as_members_come_and_go:" + assignor, () -> comeAndGo(assignor));
        }
        suite.scenario("a_group_is_listed_altered_and_deleted", this::alterAndDelete);
    }

    // --- helpers

    private String topic(int partitions, Map<String, String> configs) throws Exception {
        String topic = suite.fresh();
        create(topic, partitions, configs);
        Suite.until(() -> partitions(topic) == partitions, () -> topic + " is created");
        // A broker shows a topic before it leads its partitions; only who leads says where one ends, and is asked until then.
        Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
        for (int p = 0; p < partitions; p++) ends.put(new TopicPartition(topic, p), OffsetSpec.latest());
        admin.listOffsets(ends).all().get();
        return topic;
    }

    private void create(String topic, int partitions, Map<String, String> configs) throws Exception {
        NewTopic wanted = new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(configs);
        admin.createTopics(List.of(wanted)).all().get();
    }

    /** How many partitions it has; 0 when there is no such topic. */
    private int partitions(String topic) throws Exception {
        try {
            return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof UnknownTopicOrPartitionException) return 0;
            throw error;
        }
    }

    private static void refused(Class<? extends Exception> want, Callable<?> request) throws Exception {
        Object answer;
        try {
            answer = request.call();
        } catch (Exception error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            Suite.holds(want.isInstance(cause), "refused with " + cause + ", want " + want.getSimpleName());
            return;
        }
        throw new AssertionError("not refused with " + want.getSimpleName() + ", but answers " + answer);
    }

    private void number(String topic, int first, int count, int partitions) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = first; n < first + count; n++) {
            records.add(Records.record(topic, n % partitions, 1_700_000_000_000L + n, Integer.toString(n)));
        }
        Records.produce(bootstrap, Map.of(), records);
    }

    private static List<Integer> values(List<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(record -> Integer.valueOf(Records.text(record.value()))).toList();
    }

    private static List<Integer> range(int from, int to) {
        return IntStream.range(from, to).boxed().toList();
    }

    private Map<Integer, Long> listed(String topic, int partitions, OffsetSpec spec) throws Exception {
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        for (int p = 0; p < partitions; p++) wanted.put(new TopicPartition(topic, p), spec);
        Map<Integer, Long> offsets = new TreeMap<>();
        admin.listOffsets(wanted).all().get().forEach((place, found) -> offsets.put(place.partition(), found.offset()));
        return offsets;
    }

    private Map<TopicPartition, Long> committed(String group) throws Exception {
        return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().entrySet().stream()
                .collect(Collectors.toMap(Map.Entry::getKey, entry -> entry.getValue().offset()));
    }

    /** The ids of all groups, by a method that 3.9 and 4.x both have. */
    @SuppressWarnings({"deprecation", "removal"})
    private Set<String> groups() throws Exception {
        return admin.listConsumerGroups().all().get().stream().map(group -> group.groupId()).collect(Collectors.toSet());
    }

    private ConsumerGroupDescription described(String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    /** The state's name, by a method that 3.9 and 4.x both have. */
    @SuppressWarnings({"deprecation", "removal"})
    private String state(String group) throws Exception {
        return described(group).state().toString();
    }

    // --- scenarios

    private void topics() throws Exception {
        String topic = topic(2, Map.of());
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
        Suite.until(() -> partitions(topic) == 5, () -> "the topic has grown");
        Suite.holds(admin.listTopics().names().get().contains(topic), "the topic is listed");
        admin.deleteTopics(List.of(topic)).all().get();
        Suite.until(() -> partitions(topic) == 0, () -> "the topic is gone");
    }

    private void wrongRequests() throws Exception {
        String topic = topic(2, Map.of());
        refused(TopicExistsException.class, () -> { create(topic, 2, Map.of()); return null; });
        for (String name : List.of("a b", "x".repeat(250), "..")) {
            refused(InvalidTopicException.class, () -> { create(name, 1, Map.of()); return null; });
        }
        refused(InvalidPartitionsException.class, () -> { create(suite.fresh(), 0, Map.of()); return null; });
        refused(InvalidConfigurationException.class, () -> { create(suite.fresh(), 1, Map.of("no.such.config", "1")); return null; });
        for (int wrong : List.of(2, 1)) {
            refused(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(wrong))).all().get());
        }
        String unknown = suite.fresh();
        refused(UnknownTopicOrPartitionException.class, () -> admin.createPartitions(Map.of(unknown, NewPartitions.increaseTo(3))).all().get());
        refused(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(unknown)).all().get());
        refused(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(unknown)).allTopicNames().get());
    }

    private void codecs() throws Exception {
        String topic = topic(Records.CODECS.size(), Map.of());
        for (int partition = 0; partition < Records.CODECS.size(); partition++) {
            String codec = Records.CODECS.get(partition);
            List<ProducerRecord<byte[], byte[]>> sent = variety(topic, partition);
            List<RecordMetadata> placed = Records.produce(bootstrap, Map.of("compression.type", codec), sent);
            Suite.equal(placed.get(sent.size() - 1).offset(), sent.size() - 1L, codec + ": the last offset");
            List<ConsumerRecord<byte[], byte[]>> got = Records.read(bootstrap, new TopicPartition(topic, partition), 0, sent.size());
            Suite.equal(got.stream().map(Records::sent).toList(), sent.stream().map(Records::sent).toList(), codec);
        }
    }

    /** Records of every kind: null and empty parts, repeated and null headers, incompressible and very compressible values. */
    private static List<ProducerRecord<byte[], byte[]>> variety(String topic, int partition) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        ProducerRecord<byte[], byte[]> rich =
                new ProducerRecord<>(topic, partition, 1_700_000_000_123L, Records.bytes("key"), Records.bytes("value"));
        rich.headers().add("name", Records.bytes("first")).add("name", Records.bytes("second")).add("empty", new byte[0]).add("null", null);
        records.add(rich);
        records.add(Records.record(topic, partition, 1_700_000_000_122L, "no key"));
        records.add(new ProducerRecord<>(topic, partition, 0L, Records.bytes("no value"), (byte[]) null));
        records.add(new ProducerRecord<>(topic, partition, 1_700_000_000_124L, new byte[0], new byte[0]));
        byte[] noise = new byte[100_000];
        new java.util.Random(7).nextBytes(noise);
        records.add(new ProducerRecord<>(topic, partition, 1_700_000_000_125L, Records.bytes("noise"), noise));
        for (int n = 0; n < 200; n++) {
            records.add(Records.record(topic, partition, 1_700_000_001_000L + n, "the same again and again ".repeat(40)));
        }
        return records;
    }

    private void producers() throws Exception {
        for (boolean idempotent : List.of(true, false)) {
            String topic = topic(3, Map.of());
            List<ProducerRecord<byte[], byte[]>> sent = new ArrayList<>();
            for (int n = 0; n < 3000; n++) sent.add(Records.record(topic, n % 3, null, Integer.toString(n)));
            // Only idempotence keeps several requests in order when one of them is tried again.
            Map<String, Object> how = Map.of("enable.idempotence", idempotent, "compression.type", "lz4",
                    "max.in.flight.requests.per.connection", idempotent ? 5 : 1);
            Records.produce(bootstrap, how, sent);
            for (int p = 0; p < 3; p++) {
                int partition = p;
                List<Integer> want = IntStream.range(0, 1000).map(n -> n * 3 + partition).boxed().toList();
                Suite.equal(values(Records.read(bootstrap, new TopicPartition(topic, p), 0, 1000)), want, "partition " + p);
            }
        }
    }

    private void keys() throws Exception {
        String topic = topic(12, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < 200; n++) records.add(new ProducerRecord<>(topic, Records.bytes("user-" + n), new byte[0]));
        List<RecordMetadata> placed = Records.produce(bootstrap, Map.of(), records);
        for (int n = 0; n < 200; n++) {
            Suite.equal(placed.get(n).partition(), Utils.toPositive(Utils.murmur2(records.get(n).key())) % 12, "user-" + n);
        }
    }

    private void starts() throws Exception {
        String topic = topic(1, Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        number(topic, 0, 100, 1);
        Suite.equal(values(Records.read(bootstrap, place, 0, 100)), range(0, 100), "from the beginning");
        Suite.equal(values(Records.read(bootstrap, place, 42, 58)), range(42, 100), "from an offset");
        try (KafkaConsumer<byte[], byte[]> consumer = Records.consumer(bootstrap, Map.of())) {
            Suite.equal(consumer.offsetsForTimes(Map.of(place, 1_700_000_000_070L)).get(place).offset(), 70L, "from a time");
            Suite.equal(consumer.offsetsForTimes(Map.of(place, 1_800_000_000_000L)).get(place), null, "from a time to come");
            Suite.equal(consumer.beginningOffsets(List.of(place)).get(place), 0L, "the beginning");
            Suite.equal(consumer.endOffsets(List.of(place)).get(place), 100L, "the end");
            consumer.assign(List.of(place));
            consumer.seekToEnd(List.of(place));
            Suite.equal(consumer.position(place), 100L, "the position at the end");
            consumer.seek(place, 95);
            Suite.equal(values(Records.poll(consumer, 5)), range(95, 100), "after a seek");
            Suite.equal(consumer.currentLag(place).orElse(-1), 0L, "the lag that the consumer itself sees");
        }
    }

    private void outOfRange() throws Exception {
        String topic = topic(1, Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        number(topic, 0, 10, 1);
        Suite.equal(values(Records.read(bootstrap, place, 1000, 10)), range(0, 10), "reset to the earliest");
        try (KafkaConsumer<byte[], byte[]> consumer = Records.consumer(bootstrap, Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(place));
            consumer.seek(place, 1000);
            refused(OffsetOutOfRangeException.class, () -> Records.poll(consumer, 1));
        }
        try (KafkaConsumer<byte[], byte[]> consumer =
                Records.consumer(bootstrap, Map.of("auto.offset.reset", "none", "group.id", suite.fresh()))) {
            consumer.assign(List.of(place));
            refused(NoOffsetForPartitionException.class, () -> Records.poll(consumer, 1));
        }
    }

    private void offsets() throws Exception {
        String topic = topic(3, Map.of());
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (long time : List.of(1000, 3000, 2000, 5000, 4000)) records.add(Records.record(topic, 0, time, "x"));
        records.add(Records.record(topic, 1, 9000L, "x"));
        Records.produce(bootstrap, Map.of(), records);
        Suite.equal(listed(topic, 3, earliest()), Map.of(0, 0L, 1, 0L, 2, 0L), "earliest");
        Suite.equal(listed(topic, 3, earliestLocal()), Map.of(0, 0L, 1, 0L, 2, 0L), "earliest local");
        Suite.equal(listed(topic, 3, latest()), Map.of(0, 5L, 1, 1L, 2, 0L), "latest");
        Suite.equal(listed(topic, 3, latestTiered()), Map.of(0, -1L, 1, -1L, 2, -1L), "latest tiered, without tiers");
        Suite.equal(listed(topic, 3, maxTimestamp()), Map.of(0, 3L, 1, 0L, 2, -1L), "max timestamp");
        Suite.equal(listed(topic, 3, forTimestamp(0)), Map.of(0, 0L, 1, 0L, 2, -1L), "at or after 0");
        Suite.equal(listed(topic, 3, forTimestamp(1001)), Map.of(0, 1L, 1, 0L, 2, -1L), "at or after 1001");
        Suite.equal(listed(topic, 3, forTimestamp(3001)), Map.of(0, 3L, 1, 0L, 2, -1L), "at or after 3001");
        Suite.equal(listed(topic, 3, forTimestamp(5001)), Map.of(0, -1L, 1, 0L, 2, -1L), "at or after 5001");
        TopicPartition place = new TopicPartition(topic, 0);
        Suite.equal(admin.listOffsets(Map.of(place, forTimestamp(1001))).partitionResult(place).get().timestamp(), 3000L, "its time");
    }

    private void tooLarge() throws Exception {
        String topic = topic(1, Map.of("max.message.bytes", "20000"));
        refused(RecordTooLargeException.class,
                () -> Records.produce(bootstrap, Map.of(), List.of(Records.record(topic, 0, null, "x".repeat(25_000)))));
        refused(RecordTooLargeException.class,
                () -> Records.produce(bootstrap, Map.of("enable.idempotence", false), List.of(Records.record(topic, 0, null, "x".repeat(25_000)))));
        Records.produce(bootstrap, Map.of(), List.of(Records.record(topic, 0, null, "small")));
        Suite.equal(listed(topic, 1, latest()), Map.of(0, 1L), "only the small one is there");
    }

    private void settings() throws Exception {
        String topic = topic(1, Map.of("retention.ms", "7200000", "cleanup.policy", "compact"));
        String broker = admin.describeCluster().nodes().get().iterator().next().idString();
        ConfigResource ofTopic = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        ConfigResource ofBroker = new ConfigResource(ConfigResource.Type.BROKER, broker);
        Map<ConfigResource, Config> found = admin.describeConfigs(List.of(ofTopic, ofBroker)).all().get();
        Suite.equal(found.get(ofTopic).get("retention.ms").value(), "7200000", "a setting that was given");
        Suite.equal(found.get(ofTopic).get("retention.ms").source().name(), "DYNAMIC_TOPIC_CONFIG", "where it comes from");
        Suite.equal(found.get(ofTopic).get("max.message.bytes").value(), "1048588", "a setting that was not");
        Suite.equal(found.get(ofTopic).get("max.message.bytes").isDefault(), true, "where it comes from");
        Suite.equal(found.get(ofBroker).get("message.max.bytes").value(), "1048588", "a setting of the broker");
    }

    private void appendTime() throws Exception {
        String topic = topic(1, Map.of("message.timestamp.type", "LogAppendTime"));
        number(topic, 0, 3, 1);
        for (ConsumerRecord<byte[], byte[]> record : Records.read(bootstrap, new TopicPartition(topic, 0), 0, 3)) {
            Suite.equal(record.timestampType().toString(), "LogAppendTime", "the kind of its time");
            Suite.holds(record.timestamp() > 1_750_000_000_000L, "its time is the broker's: " + record.timestamp());
        }
    }

    private void cluster() throws Exception {
        var cluster = admin.describeCluster();
        Suite.holds(!cluster.nodes().get().isEmpty(), "there are brokers");
        Suite.holds(cluster.nodes().get().contains(cluster.controller().get()), "the controller is one of them");
        Suite.holds(!cluster.clusterId().get().isEmpty(), "the cluster has an id");
        String topic = topic(2, Map.of());
        var found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        Suite.holds(!found.topicId().equals(org.apache.kafka.common.Uuid.ZERO_UUID), "the topic has an id");
        found.partitions().forEach(partition -> Suite.holds(partition.isr().contains(partition.leader()), "the leader is in sync"));
    }

    private void comeAndGo(String assignor) throws Exception {
        String topic = topic(6, Map.of()), group = suite.fresh();
        number(topic, 0, 300, 6);
        Member first = new Member(bootstrap, group, topic, assignor);
        Member second = null;
        try {
            Suite.until(() -> first.assignment.size() == 6, first::toString);
            Member joined = second = new Member(bootstrap, group, topic, assignor);
            Suite.until(() -> first.assignment.size() == 3 && joined.assignment.size() == 3, () -> first + " and " + joined);
            Suite.until(() -> state(group).equals("Stable") && described(group).members().size() == 2, () -> "stable");
            Suite.equal(described(group).partitionAssignor(), assignor.startsWith("Range") ? "range" : "cooperative-sticky", "the assignor");
            Suite.equal(assigned(described(group)), new HashSet<>(range(0, 6)), "the partitions of all members");
            number(topic, 300, 300, 6);
            Suite.until(() -> union(first, joined).size() == 600, () -> first + " and " + joined);
            first.leave();
            Suite.until(() -> joined.assignment.size() == 6, joined::toString);
            number(topic, 600, 300, 6);
            Suite.until(() -> union(first, joined).size() == 900, () -> first + " and " + joined);
            Suite.until(() -> committed(group).values().stream().allMatch(offset -> offset == 150), () -> "all is committed");
            joined.leave();
        } finally {
            first.close();
            if (second != null) second.close();
        }
        Suite.until(() -> state(group).equals("Empty"), () -> "the group is empty");
        number(topic, 900, 12, 6);
        try (Member third = new Member(bootstrap, group, topic, assignor)) {
            Suite.until(() -> third.records.size() >= 12, third::toString);
            third.leave();
            Suite.equal(third.values(), new HashSet<>(range(900, 912)), "a new member goes on after what was committed");
        }
    }

    private static Set<Integer> union(Member first, Member second) {
        Set<Integer> all = first.values();
        all.addAll(second.values());
        return all;
    }

    private static Set<Integer> assigned(ConsumerGroupDescription group) {
        return group.members().stream().flatMap(member -> member.assignment().topicPartitions().stream())
                .map(TopicPartition::partition).collect(Collectors.toSet());
    }

    private void alterAndDelete() throws Exception {
        String topic = topic(2, Map.of()), group = suite.fresh();
        TopicPartition zero = new TopicPartition(topic, 0), one = new TopicPartition(topic, 1);
        number(topic, 0, 20, 2);
        try (Member member = new Member(bootstrap, group, topic, "RangeAssignor")) {
            Suite.until(() -> member.values().size() == 20, member::toString);
            Suite.holds(groups().contains(group), "the group is listed");
            refused(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
            member.leave();
        }
        Suite.until(() -> state(group).equals("Empty"), () -> "the group is empty");
        Suite.equal(committed(group), Map.of(zero, 10L, one, 10L), "the offsets of the group");
        admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(7, "why"))).all().get();
        Suite.equal(committed(group), Map.of(zero, 7L, one, 10L), "the altered offsets");
        Suite.equal(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(zero).metadata(), "why", "the note");
        try (Member member = new Member(bootstrap, group, topic, "RangeAssignor")) {
            Suite.until(() -> member.records.size() >= 3, member::toString);
            member.leave();
            Suite.equal(member.records.stream().map(ConsumerRecord::offset).toList(), List.of(7L, 8L, 9L), "what is read again");
        }
        admin.deleteConsumerGroupOffsets(group, Set.of(one)).all().get();
        Suite.equal(committed(group), Map.of(zero, 10L), "the offsets that are left");
        admin.deleteConsumerGroups(List.of(group)).all().get();
        Suite.holds(!groups().contains(group), "the group is still listed");
        Suite.equal(committed(group), Map.of(), "the offsets of a deleted group");
        refused(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
    }
}
