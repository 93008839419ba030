import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.StreamSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Producing and reading in a few words, with bytes as they are. */
final class Records {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    private Records() {}

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    static ProducerRecord<byte[], byte[]> record(String topic, int partition, Long timestamp, String value) {
        return new ProducerRecord<>(topic, partition, timestamp, null, bytes(value));
    }

    static KafkaProducer<byte[], byte[]> producer(String bootstrap, Map<String, Object> settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("linger.ms", 5);
        properties.putAll(settings);
        // On a partition that has only just been made the first request may be refused and the second one taken; what comes again
        // is then out of order for ever (a broker that knows nothing of a producer takes any sequence).
        properties.putIfAbsent("max.in.flight.requests.per.connection", 1);
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Sends all and waits for all; what the broker refuses is thrown as its own exception. */
    static List<RecordMetadata> produce(
            String bootstrap, Map<String, Object> settings, Collection<ProducerRecord<byte[], byte[]>> records) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(bootstrap, settings)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) sent.add(producer.send(record));
            List<RecordMetadata> placed = new ArrayList<>();
            for (Future<RecordMetadata> future : sent) placed.add(future.get());
            return placed;
        } catch (ExecutionException refused) {
            throw refused.getCause() instanceof Exception cause ? cause : refused;
        }
    }

    static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, Map<String, Object> settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("enable.auto.commit", false);
        properties.put("auto.offset.reset", "earliest");
        properties.put("fetch.max.wait.ms", 100);
        properties.putAll(settings);
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<ConsumerRecord<byte[], byte[]>> read(String bootstrap, TopicPartition place, long from, int count) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(bootstrap, Map.of())) {
            consumer.assign(List.of(place));
            consumer.seek(place, from);
            return poll(consumer, count);
        }
    }

    static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + 120_000_000_000L;
        while (records.size() < count && System.nanoTime() < deadline) {
            consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        }
        return records;
    }

    /** Everything that the sender chose, as a text that can be compared. */
    static String sent(byte[] key, byte[] value, Iterable<Header> headers, long timestamp) {
        List<String> named = StreamSupport.stream(headers.spliterator(), false)
                .map(header -> header.key() + "=" + Arrays.toString(header.value())).toList();
        return Arrays.toString(key) + " " + Arrays.toString(value) + " " + named + " " + timestamp;
    }

    static String sent(ProducerRecord<byte[], byte[]> record) {
        return sent(record.key(), record.value(), record.headers(), record.timestamp());
    }

    static String sent(ConsumerRecord<byte[], byte[]> record) {
        return sent(record.key(), record.value(), record.headers(), record.timestamp());
    }
}
