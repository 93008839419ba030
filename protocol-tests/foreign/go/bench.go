package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What the client's own benchmark sets, so that nothing is held against it that its makers would not do.
func forThroughput(options ...kgo.Opt) []kgo.Opt {
	return append(options, kgo.MaxConcurrentFetches(3), kgo.FetchMaxBytes(5<<20))
}

func number(text string) int {
	return got(strconv.Atoi(text))
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func sayRate(records, bytes int, began time.Time, cpu float64) {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	seconds := time.Since(began).Seconds()
	fmt.Printf("%.3f M records/s  %.0f MB/s  %.3f us CPU/record  %d kB peak RSS\n",
		float64(records)/seconds/1e6, float64(bytes)/seconds/1e6, (cpuSeconds()-cpu)/float64(records)*1e6, used.Maxrss)
}

func codecOf(name string) kgo.CompressionCodec {
	for _, it := range codecs {
		if it.name == name {
			return it.codec
		}
	}
	panic("no codec " + name)
}

// All records that are given at once, each of which must be acknowledged.
func measureProduce(s *suite, topic string, count, size, lingerMs int, codec string) {
	client := s.connect(forThroughput(
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(time.Duration(lingerMs)*time.Millisecond),
		kgo.ProducerBatchCompression(codecOf(codec)), kgo.MaxBufferedRecords(250<<20/size+1))...)
	defer client.Close()
	value := make([]byte, size)
	for at := range value {
		value[at] = 'x'
	}
	began, cpu, failed := time.Now(), cpuSeconds(), atomic.Int64{}
	for range count {
		client.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	}
	must(client.Flush(context.Background()))
	if failed.Load() > 0 {
		panic(fmt.Sprintf("%d records were not written", failed.Load()))
	}
	sayRate(count, count*size, began, cpu)
}

// A group of one member reads so many records; the clock runs from the first.
func measureConsume(s *suite, group, topic string, count int) {
	client := s.connect(forThroughput(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))...)
	defer client.Close()
	var began time.Time
	var cpu float64
	read, bytes := 0, 0
	for read < count {
		fetches := client.PollFetches(context.Background())
		if read == 0 {
			began, cpu = time.Now(), cpuSeconds()
		}
		fetches.EachRecord(func(record *kgo.Record) { read, bytes = read+1, bytes+len(record.Value) })
	}
	sayRate(read, bytes, began, cpu)
}

// One record after the other, each awaited before the next is made; no linger, acks=all.
func measureLatency(s *suite, topic string, count int) {
	client := s.connect(
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	value, times := make([]byte, 100), make([]time.Duration, 0, count)
	must(client.ProduceSync(context.Background(), &kgo.Record{Value: value}).FirstErr())
	for range count {
		began := time.Now()
		must(client.ProduceSync(context.Background(), &kgo.Record{Value: value}).FirstErr())
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	of := func(share float64) int64 { return times[int(float64(count-1)*share)].Microseconds() }
	fmt.Printf("p50 %d us  p99 %d us  p99.9 %d us  most %d us\n", of(0.5), of(0.99), of(0.999), of(1))
}

// A member of a group with everything at its defaults, that prints a line a record, until it is killed.
func idle(s *suite, group, topic string) {
	client := s.connect(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	for {
		client.PollFetches(context.Background()).EachRecord(func(*kgo.Record) { fmt.Println() })
	}
}
