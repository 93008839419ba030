import java.util.*;
import java.util.stream.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.*;
import org.apache.kafka.coordinator.group.assignor.*;
import org.apache.kafka.coordinator.group.modern.*;

/**
 * What Kafka's own assignors make of groups that change at random; the dev broker's are held to it.
 *   javac -cp 'LIB/*' -d OUT Assignors.java && java -cp 'OUT:LIB/*' Assignors > ../../src/devbroker/group/consumer/assign/vectors.jsonl
 * LIB is what `servers/kafka.sh lib 4.3.0` prints. A line is one assignment: what there is, who reads what and had what, and
 * what each is to have.
 */
public class Assignors {
    static final class Member {
        final String id;
        final String instance;
        Set<Uuid> topics = new LinkedHashSet<>();
        Map<Uuid, Set<Integer>> had = new HashMap<>();
        Member(String id, String instance) { this.id = id; this.instance = instance; }
    }

    final Random random;
    final boolean alike;
    final ConsumerGroupPartitionAssignor assignor;
    final Map<Uuid, Integer> topics = new LinkedHashMap<>();
    final List<Member> members = new ArrayList<>();

    Assignors(long seed) {
        random = new Random(seed);
        alike = random.nextInt(3) > 0;
        assignor = random.nextInt(3) > 0 ? new UniformAssignor() : new RangeAssignor();
    }

    Uuid id() { return new Uuid(random.nextLong(), random.nextLong()); }

    void change() {
        int what = random.nextInt(10);
        if (topics.isEmpty() || what == 0) {
            topics.put(id(), 1 + random.nextInt(random.nextInt(4) == 0 ? 40 : 12));
        } else if (members.isEmpty() || what <= 4) {
            members.add(new Member("m" + Long.toString(random.nextLong() >>> 20, 36),
                random.nextInt(4) == 0 ? "i" + random.nextInt(1000) : null));
            if (!alike) choose(members.get(members.size() - 1));
        } else if (what <= 6) {
            members.remove(random.nextInt(members.size()));
        } else if (what == 7) {
            List<Uuid> all = new ArrayList<>(topics.keySet());
            topics.merge(all.get(random.nextInt(all.size())), 1 + random.nextInt(5), Integer::sum);
        } else if (!alike) {
            choose(members.get(random.nextInt(members.size())));
        }
    }

    void choose(Member member) {
        List<Uuid> all = new ArrayList<>(topics.keySet());
        Collections.shuffle(all, random);
        member.topics = new LinkedHashSet<>(all.subList(0, random.nextInt(all.size() + 1)));
    }

    void assign() {
        if (alike) members.forEach(member -> member.topics = new LinkedHashSet<>(topics.keySet()));
        Map<String, MemberSubscriptionAndAssignmentImpl> spec = new HashMap<>();
        Map<Uuid, Map<Integer, String>> inverted = new HashMap<>();
        for (Member member : members) {
            spec.put(member.id, new MemberSubscriptionAndAssignmentImpl(Optional.empty(), Optional.ofNullable(member.instance),
                member.topics, new Assignment(member.had)));
            member.had.forEach((topic, parts) -> parts.forEach(part ->
                inverted.computeIfAbsent(topic, __ -> new HashMap<>()).put(part, member.id)));
        }
        SubscribedTopicDescriber describer = new SubscribedTopicDescriber() {
            public int numPartitions(Uuid topic) { return topics.getOrDefault(topic, -1); }
            public Set<String> racksForPartition(Uuid topic, int partition) { return Set.of(); }
        };
        Map<String, MemberAssignment> result = assignor.assign(
            new GroupSpecImpl(spec, alike ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS, inverted), describer).members();
        StringBuilder line = new StringBuilder("{\"assignor\":\"" + assignor.name() + "\",\"alike\":" + alike + ",\"topics\":{");
        line.append(topics.entrySet().stream().map(it -> "\"" + hex(it.getKey()) + "\":" + it.getValue()).collect(Collectors.joining(",")));
        line.append("},\"members\":[");
        StringJoiner rows = new StringJoiner(",");
        for (Member member : members) {
            MemberAssignment given = result.get(member.id);
            Map<Uuid, Set<Integer>> has = given == null ? Map.of() : inOrder(given.partitions());
            rows.add("{\"id\":\"" + member.id + "\"" + (member.instance == null ? "" : ",\"instance\":\"" + member.instance + "\"")
                + ",\"topics\":[" + member.topics.stream().map(it -> "\"" + hex(it) + "\"").collect(Collectors.joining(","))
                + "],\"had\":" + json(member.had) + ",\"has\":" + json(has) + "}");
            member.had = has;
        }
        System.out.println(line.append(rows).append("]}"));
    }

    /** What is in one bucket of a table comes out in the order in which it went in: here, by id and number. */
    static Map<Uuid, Set<Integer>> inOrder(Map<Uuid, Set<Integer>> partitions) {
        Map<Uuid, Set<Integer>> result = new HashMap<>();
        partitions.keySet().stream().sorted(Comparator.comparing(Assignors::hex))
            .forEach(topic -> result.put(topic, new HashSet<>(new TreeSet<>(partitions.get(topic)))));
        return result;
    }

    static String hex(Uuid id) { return String.format("%016x%016x", id.getMostSignificantBits(), id.getLeastSignificantBits()); }

    static String json(Map<Uuid, Set<Integer>> partitions) {
        return "{" + partitions.entrySet().stream().map(it -> "\"" + hex(it.getKey()) + "\":" + new TreeSet<>(it.getValue()))
            .collect(Collectors.joining(",")).replace(" ", "") + "}";
    }

    public static void main(String[] args) {
        int seeds = args.length > 0 ? Integer.parseInt(args[0]) : 16;
        for (long seed = 1; seed <= seeds; seed++) {
            Assignors group = new Assignors(seed);
            for (int step = 0; step < 10; step++) {
                for (int changes = 1 + group.random.nextInt(3); changes > 0; changes--) group.change();
                if (!group.members.isEmpty()) group.assign();
            }
        }
    }
}
