import static java.util.stream.Collectors.toList;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Java's part in "what one writes all others read": Cross BOOTSTRAP NAME PREFIX OTHERS. The topic PREFIX-WRITER-CODEC holds
 * the records that {@link #record} makes; the others' topics (commas between their names) are there, Java's is written here.
 */
public final class Cross {
    private static final int COUNT = 100;

    private Cross() {}

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], name = arguments[1], prefix = arguments[2];
        Suite suite = new Suite(name, bootstrap);
        for (String codec : Records.CODECS) write(bootstrap, prefix, codec);
        for (String writer : (arguments[3] + ",java").split(",")) {
            suite.scenario("reads_what_" + writer + "_writes", () -> read(bootstrap, prefix, writer));
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            System.exit(suite.finish(admin));
        }
    }

    private static void write(String bootstrap, String prefix, String codec) throws Exception {
        String topic = prefix + "-java-" + codec;
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int n = 0; n < COUNT; n++) records.add(record(topic, "java", codec, n));
        Records.produce(bootstrap, Map.of("compression.type", codec), records);
    }

    private static void read(String bootstrap, String prefix, String writer) {
        for (String codec : Records.CODECS) {
            String topic = prefix + "-" + writer + "-" + codec;
            List<String> want = new ArrayList<>();
            for (int n = 0; n < COUNT; n++) want.add(Records.sent(record(topic, writer, codec, n)));
            List<ConsumerRecord<byte[], byte[]>> got = Records.read(bootstrap, new TopicPartition(topic, 0), 0, COUNT);
            Suite.equal(got.stream().map(Records::sent).collect(toList()), want, topic);
        }
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, String writer, String codec, int n) {
        byte[] key = n % 5 == 0 ? null : Records.bytes("key-" + n);
        byte[] value = n % 5 == 1 ? null : Records.bytes((n + " " + writer + " " + codec + " ").repeat(n));
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, 1_700_000_000_000L + n, key, value);
        record.headers().add("n", Records.bytes("" + n)).add("n", Records.bytes("again"));
        if (!writer.equals("kafka-python")) record.headers().add("null", null);
        return record;
    }
}
