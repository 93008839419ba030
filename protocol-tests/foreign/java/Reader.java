import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;

/**
 * A member of a group of the consumer protocol, as a process that can be killed: Reader BOOTSTRAP GROUP TOPIC [INSTANCE].
 * A topic that begins with ^ is a pattern. It writes a line for each assignment and each record, commits after each poll, and
 * leaves when its standard input ends.
 */
public final class Reader {
    private Reader() {}

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> settings = new HashMap<>(Map.of("group.id", arguments[1], "group.protocol", "consumer"));
        if (arguments.length > 3) settings.put("group.instance.id", arguments[3]);
        try (KafkaConsumer<byte[], byte[]> consumer = Records.consumer(arguments[0], settings)) {
            Thread main = Thread.currentThread();
            Thread watch = new Thread(() -> untilTheEnd(consumer));
            watch.setDaemon(true);
            watch.start();
            subscribe(consumer, arguments[2]);
            while (main.isAlive()) {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> System.out.println(
                    "read " + record.topic() + " " + record.partition() + " " + record.offset() + " " + Records.text(record.value())));
                consumer.commitSync();
            }
        } catch (WakeupException ended) {
            System.out.println("left");
        }
    }

    private static void untilTheEnd(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            System.in.transferTo(java.io.OutputStream.nullOutputStream());
        } catch (java.io.IOException closed) {
            // As good as its end.
        }
        consumer.wakeup();
    }

    private static void subscribe(KafkaConsumer<byte[], byte[]> consumer, String topic) throws Exception {
        ConsumerRebalanceListener tell = new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> added) {
                tell(consumer.assignment());
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> removed) {
                tell(consumer.assignment().stream().filter(place -> !removed.contains(place)).toList());
            }
        };
        if (!topic.startsWith("^")) {
            consumer.subscribe(List.of(topic), tell);
            return;
        }
        // The class is not in Kafka 3.9, for which this is compiled as well.
        Class<?> pattern = Class.forName("org.apache.kafka.clients.consumer.SubscriptionPattern");
        KafkaConsumer.class.getMethod("subscribe", pattern, ConsumerRebalanceListener.class)
            .invoke(consumer, pattern.getConstructor(String.class).newInstance(topic), tell);
    }

    private static void tell(Collection<TopicPartition> places) {
        System.out.println("has " + places.stream().map(place -> place.topic() + ":" + place.partition()).sorted().collect(Collectors.joining(",")));
    }
}
