package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What must be true of a broker when franz-go asks.
func playClients(s *suite) {
	s.scenario("topics_are_created_described_grown_and_deleted", s.topics)
	s.scenario("wrong_requests_for_topics_are_refused_by_name", s.wrongRequests)
	s.scenario("every_codec_keeps_every_byte", s.everyCodec)
	s.scenario("idempotent_and_plain_producers_write_each_record_once_and_in_order", s.producers)
	s.scenario("reading_starts_at_the_beginning_an_offset_or_a_time", s.starts)
	s.scenario("an_offset_out_of_range_is_reset_or_reported", s.outOfRange)
	s.scenario("offsets_are_listed_by_every_spec", s.everySpec)
	s.scenario("records_are_deleted", s.deleteRecords)
	s.scenario("a_record_that_is_too_large_is_refused", s.tooLarge)
	s.scenario("settings_of_topics_and_brokers_are_read_and_changed", s.settings)
	s.scenario("append_time_replaces_the_senders_time", s.appendTime)
	s.scenario("the_cluster_describes_itself", s.cluster)
	for _, balancer := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.RoundRobinBalancer(), kgo.CooperativeStickyBalancer()} {
		name := "a_group_shares_out_partitions_as_members_come_and_go:" + balancer.ProtocolName()
		s.scenario(name, func() { s.comeAndGo(kgo.Balancers(balancer)) })
	}
	s.scenario("a_group_is_listed_altered_and_deleted", s.alterAndDelete)
	s.scenario("what_is_read_and_what_is_written_are_one_transaction", s.exactlyOnce)
	s.scenario("a_replaced_transactional_producer_is_fenced", s.fenced)
}

func (s *suite) topic(partitions int, configs map[string]string) string {
	topic := s.fresh()
	must(s.create(topic, partitions, configs))
	until(func() bool { return s.partitions(topic) == partitions }, func() string { return topic + " is created" })
	return topic
}

func (s *suite) create(topic string, partitions int, configs map[string]string) error {
	given := map[string]*string{}
	for name, value := range configs {
		given[name] = kadm.StringPtr(value)
	}
	_, err := s.admin.CreateTopic(within(), int32(partitions), -1, given, topic)
	return err
}

// partitions is how many it has; 0 when there is no such topic.
func (s *suite) partitions(topic string) int {
	return len(got(s.admin.ListTopics(within(), topic))[topic].Partitions)
}

func (s *suite) topics() {
	topic := s.topic(2, nil)
	must(got(s.admin.UpdatePartitions(within(), 5, topic)).Error())
	until(func() bool { return s.partitions(topic) == 5 }, func() string { return "the topic has grown" })
	holds(got(s.admin.ListTopics(within())).Has(topic), "the topic is listed")
	must(got(s.admin.DeleteTopics(within(), topic)).Error())
	until(func() bool { return s.partitions(topic) == 0 }, func() string { return "the topic is gone" })
}

func (s *suite) wrongRequests() {
	topic := s.topic(2, nil)
	refused(s.create(topic, 2, nil), kerr.TopicAlreadyExists, "a second time")
	for _, name := range []string{"a b", strings.Repeat("x", 250), ".."} {
		refused(s.create(name, 1, nil), kerr.InvalidTopicException, name)
	}
	refused(s.create(s.fresh(), 0, nil), kerr.InvalidPartitions, "without partitions")
	refused(s.create(s.fresh(), 1, map[string]string{"no.such.config": "1"}), kerr.InvalidConfig, "an unknown setting")
	refused(s.create(s.fresh(), 1, map[string]string{"retention.ms": "soon"}), kerr.InvalidConfig, "a wrong setting")
	for _, wrong := range []int{2, 1} {
		refused(got(s.admin.UpdatePartitions(within(), wrong, topic)).Error(), kerr.InvalidPartitions, "not grown")
	}
	unknown := s.fresh()
	refused(got(s.admin.UpdatePartitions(within(), 3, unknown)).Error(), kerr.UnknownTopicOrPartition, "growing nothing")
	refused(got(s.admin.DeleteTopics(within(), unknown)).Error(), kerr.UnknownTopicOrPartition, "deleting nothing")
}

func (s *suite) everyCodec() {
	topic := s.topic(len(codecs), nil)
	for partition, codec := range codecs {
		records := variety(topic, partition)
		must(s.produce(records, kgo.ProducerBatchCompression(codec.codec)))
		equal(records[len(records)-1].Offset, int64(len(records)-1), codec.name+": the last offset")
		read := s.read(topic, partition, kgo.NewOffset().AtStart(), len(records))
		equal(allSent(read), allSent(records), codec.name)
	}
}

// variety is records of every kind: null and empty parts, repeated and null headers, incompressible and very compressible.
func variety(topic string, partition int) []*kgo.Record {
	noise := make([]byte, 100_000)
	for n := range noise {
		noise[n] = byte(rand.Uint32())
	}
	headers := []kgo.RecordHeader{{Key: "name", Value: []byte("first")}, {Key: "name", Value: []byte("second")}, {Key: "empty", Value: []byte{}}, {Key: "null"}}
	records := []*kgo.Record{
		{Key: []byte("key"), Value: []byte("value"), Headers: headers, Timestamp: at(123)},
		{Value: []byte("no key"), Timestamp: at(122)},
		{Key: []byte("no value"), Timestamp: time.UnixMilli(0)},
		{Key: []byte{}, Value: []byte{}, Timestamp: at(124)},
		{Key: []byte("noise"), Value: noise, Timestamp: at(125)},
	}
	for n := range 200 {
		records = append(records, record(topic, partition, at(1000+n), strings.Repeat("the same again and again ", 40)))
	}
	for _, record := range records {
		record.Topic, record.Partition = topic, int32(partition)
	}
	return records
}

func (s *suite) producers() {
	for _, how := range [][]kgo.Opt{{}, {kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)}} {
		topic := s.topic(3, nil)
		must(s.produce(numbered(topic, 0, 3000, 3), append(how, kgo.ProducerBatchCompression(kgo.Lz4Compression()))...))
		for partition := range 3 {
			read := s.read(topic, partition, kgo.NewOffset().AtStart(), 1000)
			for n, value := range values(read) {
				equal(value, 3*n+partition, fmt.Sprintf("record %d of partition %d", n, partition))
			}
		}
	}
}

func (s *suite) starts() {
	topic := s.topic(1, nil)
	must(s.produce(numbered(topic, 0, 100, 1)))
	cases := []struct {
		start kgo.Offset
		first int
	}{
		{kgo.NewOffset().AtStart(), 0},
		{kgo.NewOffset().At(42), 42},
		{kgo.NewOffset().AfterMilli(at(70).UnixMilli()), 70},
		{kgo.NewOffset().AfterMilli(5), 0},
		{kgo.NewOffset().AtEnd().Relative(-5), 95},
	}
	for _, it := range cases {
		equal(values(s.read(topic, 0, it.start, 100-it.first)), from(it.first, 100), fmt.Sprintf("from %v", it.start))
	}
}

func (s *suite) outOfRange() {
	topic := s.topic(1, nil)
	must(s.produce(numbered(topic, 0, 10, 1)))
	reset := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
	equal(values(s.read(topic, 0, kgo.NewOffset().At(1000), 10, reset)), from(0, 10), "reset to the earliest")
	places := map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(1000)}}
	client := s.connect(kgo.ConsumePartitions(places), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	defer client.Close()
	refused(client.PollFetches(within()).Err(), kerr.OffsetOutOfRange, "without a reset")
}

func (s *suite) listed(offsets kadm.ListedOffsets, err error) map[int32]int64 {
	must(err)
	must(offsets.Error())
	found := map[int32]int64{}
	offsets.Each(func(offset kadm.ListedOffset) { found[offset.Partition] = offset.Offset })
	return found
}

func (s *suite) everySpec() {
	topic := s.topic(3, nil)
	// Kafka answers with the first record that is not older.
	times := []int64{1000, 3000, 2000, 5000, 4000}
	records := []*kgo.Record{record(topic, 1, time.UnixMilli(9000), "x")}
	for _, when := range times {
		records = append(records, record(topic, 0, time.UnixMilli(when), "x"))
	}
	must(s.produce(records))
	equal(s.listed(s.admin.ListStartOffsets(within(), topic)), map[int32]int64{0: 0, 1: 0, 2: 0}, "earliest")
	equal(s.listed(s.admin.ListEndOffsets(within(), topic)), map[int32]int64{0: 5, 1: 1, 2: 0}, "latest")
	equal(s.listed(s.admin.ListCommittedOffsets(within(), topic)), map[int32]int64{0: 5, 1: 1, 2: 0}, "the last stable")
	equal(s.listed(s.admin.ListMaxTimestampOffsets(within(), topic)), map[int32]int64{0: 3, 1: 0, 2: -1}, "max timestamp")
	// Where nothing is as young, this client tells the end.
	for when, want := range map[int64]int64{0: 0, 1001: 1, 3001: 3, 5000: 3, 5001: 5} {
		found := s.listed(s.admin.ListOffsetsAfterMilli(within(), when, topic))
		equal(found[0], want, fmt.Sprintf("at or after %d", when))
	}
}

func (s *suite) deleteRecords() {
	topic := s.topic(1, nil)
	must(s.produce(numbered(topic, 0, 20, 1)))
	before := kadm.Offsets{}
	before.AddOffset(topic, 0, 12, -1)
	must(got(s.admin.DeleteRecords(within(), before)).Error())
	equal(s.listed(s.admin.ListStartOffsets(within(), topic)), map[int32]int64{0: 12}, "what is left begins there")
	equal(values(s.read(topic, 0, kgo.NewOffset().AtStart(), 8)), from(12, 20), "what is left")
	before.AddOffset(topic, 0, 21, -1)
	refused(got(s.admin.DeleteRecords(within(), before)).Error(), kerr.OffsetOutOfRange, "beyond the end")
}

func (s *suite) tooLarge() {
	topic := s.topic(1, map[string]string{"max.message.bytes": "20000"})
	noise := variety(topic, 0)[4]
	refused(s.produce([]*kgo.Record{noise}), kerr.MessageTooLarge, "a record beyond the topic's limit")
	must(s.produce([]*kgo.Record{record(topic, 0, at(0), "small")}))
	equal(s.listed(s.admin.ListEndOffsets(within(), topic)), map[int32]int64{0: 1}, "only the small one is there")
}

func (s *suite) setting(of string, configs kadm.ResourceConfigs, err error, name string) string {
	must(err)
	for _, config := range got(configs.On(of, nil)).Configs {
		if config.Key == name {
			return config.MaybeValue()
		}
	}
	panic("there is no setting " + name)
}

func (s *suite) settings() {
	topic := s.topic(1, map[string]string{"retention.ms": "7200000", "cleanup.policy": "compact"})
	ofTopic := func(name string) string {
		configs, err := s.admin.DescribeTopicConfigs(within(), topic)
		return s.setting(topic, configs, err, name)
	}
	equal(ofTopic("retention.ms"), "7200000", "a setting that was given")
	equal(ofTopic("max.message.bytes"), "1048588", "a setting that was not")
	changes := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("60000")}}
	for _, answer := range got(s.admin.AlterTopicConfigs(within(), changes, topic)) {
		must(answer.Err)
	}
	until(func() bool { return ofTopic("retention.ms") == "60000" }, func() string { return "the setting is changed" })
	broker := got(s.admin.ListBrokers(within()))[0].NodeID
	configs, err := s.admin.DescribeBrokerConfigs(within(), broker)
	equal(s.setting(strconv.Itoa(int(broker)), configs, err, "message.max.bytes"), "1048588", "a setting of the broker")
}

func (s *suite) appendTime() {
	topic := s.topic(1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	must(s.produce(numbered(topic, 0, 3, 1)))
	for _, record := range s.read(topic, 0, kgo.NewOffset().AtStart(), 3) {
		equal(record.Attrs.TimestampType(), 1, "the kind of its time")
		holds(record.Timestamp.UnixMilli() > 1_750_000_000_000, "its time is the broker's: "+record.Timestamp.String())
	}
}

func (s *suite) cluster() {
	topic := s.topic(2, nil)
	found := got(s.admin.Metadata(within(), topic))
	holds(found.Cluster != "", "the cluster has an id")
	holds(len(found.Brokers) > 0, "there are brokers")
	holds(found.Topics[topic].ID != kadm.TopicID{}, "the topic has an id")
	for _, partition := range found.Topics[topic].Partitions {
		equal(partition.ISR[0], partition.Leader, "the leader is in sync")
	}
	versions := got(s.admin.ApiVersions(within()))
	versions.Each(func(broker kadm.BrokerApiVersions) { must(broker.Err) })
}
