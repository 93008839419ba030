package main

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The topic PREFIX-WRITER-CODEC holds a hundred records of every kind; PREFIX-WRITER-transactions three transactions of ten,
// of which the second was aborted. All writers make the same.
const crossCount = 100

func crossRecord(topic, writer, codec string, n int) *kgo.Record {
	made := &kgo.Record{Topic: topic, Timestamp: at(n)}
	if n%5 != 0 {
		made.Key = fmt.Appendf(nil, "key-%d", n)
	}
	if n%5 != 1 {
		made.Value = []byte(strings.Repeat(fmt.Sprintf("%d %s %s ", n, writer, codec), n))
	}
	made.Headers = []kgo.RecordHeader{{Key: "n", Value: fmt.Appendf(nil, "%d", n)}, {Key: "n", Value: []byte("again")}}
	if writer != "kafka-python" {
		made.Headers = append(made.Headers, kgo.RecordHeader{Key: "null"})
	}
	return made
}

func crossRecords(prefix, writer, codec string) (records []*kgo.Record) {
	for n := range crossCount {
		records = append(records, crossRecord(fmt.Sprintf("%s-%s-%s", prefix, writer, codec), writer, codec, n))
	}
	return records
}

func crossWrite(s *suite, prefix string) {
	for _, codec := range codecs {
		must(s.produce(crossRecords(prefix, s.client, codec.name), kgo.ProducerBatchCompression(codec.codec)))
	}
	topic := fmt.Sprintf("%s-%s-transactions", prefix, s.client)
	client := s.connect(kgo.TransactionalID(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer client.Close()
	for transaction, try := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		must(client.BeginTransaction())
		must(client.ProduceSync(within(), numbered(topic, 10*transaction, 10, 1)...).FirstErr())
		must(client.EndTransaction(within(), try))
	}
}

func crossRead(s *suite, prefix, writer string) {
	for _, codec := range codecs {
		topic := fmt.Sprintf("%s-%s-%s", prefix, writer, codec.name)
		read := s.read(topic, 0, kgo.NewOffset().AtStart(), crossCount)
		equal(allSent(read), allSent(crossRecords(prefix, writer, codec.name)), topic)
	}
	topic := fmt.Sprintf("%s-%s-transactions", prefix, writer)
	read := s.read(topic, 0, kgo.NewOffset().AtStart(), 20, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	equal(values(read), append(from(0, 10), from(20, 30)...), "what was committed to "+topic)
	// Ten records and a marker a transaction.
	equal(read[10].Offset, 22, "the offset of the third transaction in "+topic)
}
