import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;

/** A member of a group in its own thread: polls, remembers what it read, and commits after each poll. */
final class Member implements AutoCloseable {
    final List<ConsumerRecord<byte[], byte[]>> records = new CopyOnWriteArrayList<>();
    volatile Set<Integer> assignment = Set.of();
    volatile Exception failed;
    private volatile boolean leaving;
    private final Thread thread;

    Member(String bootstrap, String group, String topic, String assignor) {
        this(bootstrap, topic, Map.of(
                "group.id", group, "session.timeout.ms", 10_000, "heartbeat.interval.ms", 300,
                "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor));
    }

    Member(String bootstrap, String topic, Map<String, Object> settings) {
        thread = new Thread(() -> live(bootstrap, topic, settings));
        thread.setDaemon(true);
        thread.start();
    }

    private void live(String bootstrap, String topic, Map<String, Object> settings) {
        try (KafkaConsumer<byte[], byte[]> consumer = Records.consumer(bootstrap, settings)) {
            consumer.subscribe(List.of(topic));
            while (!leaving) {
                consumer.poll(Duration.ofMillis(100)).forEach(records::add);
                commit(consumer);
                assignment = consumer.assignment().stream().map(TopicPartition::partition).collect(Collectors.toSet());
            }
        } catch (Exception error) {
            failed = error;
        }
        assignment = Set.of();
    }

    private static void commit(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            consumer.commitSync();
        } catch (CommitFailedException | RebalanceInProgressException late) {
            // A rebalance was faster: whoever owns the partition now reads these records again.
        }
    }

    Set<Integer> values() {
        return records.stream().map(record -> Integer.valueOf(Records.text(record.value()))).collect(Collectors.toSet());
    }

    void leave() throws Exception {
        close();
        Suite.holds(!thread.isAlive(), "the member does not leave");
        if (failed != null) throw failed;
    }

    @Override
    public void close() throws InterruptedException {
        leaving = true;
        thread.join(120_000);
    }

    @Override
    public String toString() {
        return assignment + " of " + records.size() + " records" + (failed == null ? "" : ", failed: " + failed);
    }
}
