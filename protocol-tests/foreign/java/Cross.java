import static java.util.stream.Collectors.toList;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Java's part in "what one writes all others read": Cross BOOTSTRAP NAME write PREFIX, and Cross BOOTSTRAP NAME read PREFIX
 * WRITER,... The topic PREFIX-WRITER-CODEC holds the records that {@link #record} makes; PREFIX-WRITER-transactions three
 * transactions of ten, of which the second was aborted.
 */
public final class Cross {
    private static final int COUNT = 100;
    private static final long TIME = 1_700_000_000_000L;

    private Cross() {}

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], name = arguments[1], verb = arguments[2], prefix = arguments[3];
        Suite suite = new Suite(name, bootstrap);
        if (verb.equals("write")) {
            suite.scenario("writes_with_every_codec_and_in_transactions", () -> write(bootstrap, prefix));
        } else {
            for (String writer : arguments[4].split(",")) {
                suite.scenario("reads_what_" + writer + "_writes", () -> read(bootstrap, prefix, writer));
            }
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            System.exit(suite.finish(admin));
        }
    }

    private static void write(String bootstrap, String prefix) throws Exception {
        for (String codec : Records.CODECS) {
            String topic = prefix + "-java-" + codec;
            List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
            for (int n = 0; n < COUNT; n++) records.add(record(topic, "java", codec, n));
            Records.produce(bootstrap, Map.of("compression.type", codec), records);
        }
        String topic = prefix + "-java-transactions";
        try (KafkaProducer<byte[], byte[]> producer = Records.producer(bootstrap, Map.of("transactional.id", topic))) {
            producer.initTransactions();
            for (int transaction = 0; transaction < 3; transaction++) {
                producer.beginTransaction();
                for (int n = 10 * transaction; n < 10 * transaction + 10; n++) {
                    producer.send(Records.record(topic, 0, TIME + n, Integer.toString(n)));
                }
                producer.flush();
                if (transaction == 1) producer.abortTransaction(); else producer.commitTransaction();
            }
        }
    }

    private static void read(String bootstrap, String prefix, String writer) {
        for (String codec : Records.CODECS) {
            String topic = prefix + "-" + writer + "-" + codec;
            List<String> want = new ArrayList<>();
            for (int n = 0; n < COUNT; n++) want.add(Records.sent(record(topic, writer, codec, n)));
            List<ConsumerRecord<byte[], byte[]>> got = Records.read(bootstrap, new TopicPartition(topic, 0), 0, COUNT);
            Suite.equal(got.stream().map(Records::sent).collect(toList()), want, topic);
        }
        TopicPartition place = new TopicPartition(prefix + "-" + writer + "-transactions", 0);
        try (KafkaConsumer<byte[], byte[]> consumer = Records.consumer(bootstrap, Map.of("isolation.level", "read_committed"))) {
            consumer.assign(List.of(place));
            consumer.seek(place, 0);
            List<ConsumerRecord<byte[], byte[]>> got = Records.poll(consumer, 20);
            List<String> want = IntStream.range(0, 30).filter(n -> n / 10 != 1).mapToObj(Integer::toString).collect(toList());
            Suite.equal(got.stream().map(record -> Records.text(record.value())).collect(toList()), want, "committed to " + place);
            // Ten records and a marker a transaction.
            Suite.equal(got.get(10).offset(), 22L, "the offset of the third transaction in " + place);
        }
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, String writer, String codec, int n) {
        byte[] key = n % 5 == 0 ? null : Records.bytes("key-" + n);
        byte[] value = n % 5 == 1 ? null : Records.bytes((n + " " + writer + " " + codec + " ").repeat(n));
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, TIME + n, key, value);
        record.headers().add("n", Records.bytes("" + n)).add("n", Records.bytes("again"));
        if (!writer.equals("kafka-python")) record.headers().add("null", null);
        return record;
    }
}
