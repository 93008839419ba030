package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()},
	{"gzip", kgo.GzipCompression()},
	{"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()},
	{"zstd", kgo.ZstdCompression()},
}

// The time of the n-th record of a scenario.
func at(n int) time.Time {
	return time.UnixMilli(1_700_000_000_000 + int64(n))
}

func record(topic string, partition int, when time.Time, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: int32(partition), Timestamp: when, Value: []byte(value)}
}

// numbered makes records whose values are their numbers, in turns for each partition.
func numbered(topic string, first, count, partitions int) []*kgo.Record {
	records := make([]*kgo.Record, 0, count)
	for n := first; n < first+count; n++ {
		records = append(records, record(topic, n%partitions, at(n), strconv.Itoa(n)))
	}
	return records
}

func (s *suite) connect(options ...kgo.Opt) *kgo.Client {
	always := []kgo.Opt{kgo.SeedBrokers(strings.Split(s.bootstrap, ",")...), kgo.FetchMaxWait(100 * time.Millisecond)}
	return got(kgo.NewClient(append(always, options...)...))
}

// produce sends all to the partitions they name and waits for all; their places are in the records afterwards.
func (s *suite) produce(records []*kgo.Record, options ...kgo.Opt) error {
	client := s.connect(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	defer client.Close()
	return client.ProduceSync(within(), records...).FirstErr()
}

// read takes the first records from there on, without a group.
func (s *suite) read(topic string, partition int, start kgo.Offset, count int, options ...kgo.Opt) []*kgo.Record {
	places := map[string]map[int32]kgo.Offset{topic: {int32(partition): start}}
	client := s.connect(append(options, kgo.ConsumePartitions(places))...)
	defer client.Close()
	return poll(client, count)
}

func poll(client *kgo.Client, count int) (records []*kgo.Record) {
	for ctx := within(); len(records) < count; {
		fetches := client.PollRecords(ctx, count-len(records))
		must(fetches.Err())
		records = append(records, fetches.Records()...)
	}
	return records
}

// sent is everything that the sender chose, as a text that can be compared; nothing and empty are two things.
func sent(record *kgo.Record) string {
	text := fmt.Sprintf("%s %s %d", bytes(record.Key), bytes(record.Value), record.Timestamp.UnixMilli())
	for _, header := range record.Headers {
		text += fmt.Sprintf(" %s=%s", header.Key, bytes(header.Value))
	}
	return text
}

func bytes(value []byte) string {
	if value == nil {
		return "nothing"
	}
	return strconv.Quote(string(value))
}

func allSent(records []*kgo.Record) (texts []string) {
	for _, record := range records {
		texts = append(texts, sent(record))
	}
	return texts
}

func values(records []*kgo.Record) (numbers []int) {
	for _, record := range records {
		numbers = append(numbers, got(strconv.Atoi(string(record.Value))))
	}
	return numbers
}

func offsets(records []*kgo.Record) (offsets []int64) {
	for _, record := range records {
		offsets = append(offsets, record.Offset)
	}
	return offsets
}

func from(first, end int) (numbers []int) {
	for n := first; n < end; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}
