package main

import (
	"context"
	"fmt"
	"os/signal"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Groups of the consumer protocol (KIP-848): the broker assigns.
func playGroups(s *suite) {
	s.scenario("a_group_of_the_consumer_protocol_shares_out_partitions", func() { s.comeAndGo(kgo.ServerSideBalancer()) })
}

// member of a group in its own goroutine: polls, remembers what it read, and commits after each poll.
type member struct {
	client *kgo.Client
	stop   context.CancelFunc
	ended  chan struct{}

	lock    sync.Mutex
	has     map[int32]bool
	records []*kgo.Record
	failed  error
}

func (s *suite) join(group, topic string, balancer kgo.GroupOpt) *member {
	ctx, stop := context.WithCancel(context.Background())
	joined := &member{stop: stop, ended: make(chan struct{}), has: map[int32]bool{}}
	joined.client = s.connect(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), balancer, kgo.DisableAutoCommit(), kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(300*time.Millisecond), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(joined.change(true)), kgo.OnPartitionsRevoked(joined.change(false)), kgo.OnPartitionsLost(joined.change(false)),
	)
	go joined.live(ctx)
	return joined
}

func (m *member) change(gained bool) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
		m.lock.Lock()
		defer m.lock.Unlock()
		for _, partitions := range places {
			for _, partition := range partitions {
				if gained {
					m.has[partition] = true
				} else {
					delete(m.has, partition)
				}
			}
		}
	}
}

func (m *member) live(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		fetches := m.client.PollFetches(ctx)
		m.lock.Lock()
		m.records = append(m.records, fetches.Records()...)
		if err := fetches.Err(); err != nil && ctx.Err() == nil {
			m.failed = err
		}
		m.lock.Unlock()
		// A rebalance may be faster: whoever owns the partition then reads these records again.
		_ = m.client.CommitUncommittedOffsets(within())
		m.client.AllowRebalance()
	}
	m.client.CloseAllowingRebalance()
}

func (m *member) count() int {
	m.lock.Lock()
	defer m.lock.Unlock()
	return len(m.has)
}

func (m *member) read() []*kgo.Record {
	m.lock.Lock()
	defer m.lock.Unlock()
	return slices.Clone(m.records)
}

func (m *member) String() string {
	m.lock.Lock()
	defer m.lock.Unlock()
	return fmt.Sprintf("%v of %d records, %v", m.has, len(m.records), m.failed)
}

func (m *member) leave() {
	m.stop()
	<-m.ended
	must(m.failed)
}

func distinct(members ...*member) map[int]bool {
	all := map[int]bool{}
	for _, member := range members {
		for _, value := range values(member.read()) {
			all[value] = true
		}
	}
	return all
}

func (s *suite) state(group string) string {
	for _, listed := range got(s.admin.ListGroups(within())) {
		if listed.Group == group {
			return listed.State
		}
	}
	return "not listed"
}

func (s *suite) committed(group string) map[int32]int64 {
	found := map[int32]int64{}
	got(s.admin.FetchOffsets(within(), group)).Each(func(offset kadm.OffsetResponse) {
		must(offset.Err)
		found[offset.Partition] = offset.At
	})
	return found
}

func (s *suite) comeAndGo(balancer kgo.GroupOpt) {
	topic, group := s.topic(6, nil), s.fresh()
	must(s.produce(numbered(topic, 0, 300, 6)))
	first := s.join(group, topic, balancer)
	defer first.stop()
	until(func() bool { return first.count() == 6 }, first.String)
	second := s.join(group, topic, balancer)
	defer second.stop()
	both := func() string { return first.String() + " and " + second.String() }
	until(func() bool { return first.count() == 3 && second.count() == 3 }, both)
	until(func() bool { return s.state(group) == "Stable" }, func() string { return s.state(group) })
	must(s.produce(numbered(topic, 300, 300, 6)))
	until(func() bool { return len(distinct(first, second)) == 600 }, both)
	first.leave()
	until(func() bool { return second.count() == 6 }, both)
	must(s.produce(numbered(topic, 600, 300, 6)))
	until(func() bool { return len(distinct(first, second)) == 900 }, both)
	want := map[int32]int64{0: 150, 1: 150, 2: 150, 3: 150, 4: 150, 5: 150}
	until(func() bool { return fmt.Sprint(s.committed(group)) == fmt.Sprint(want) }, func() string { return fmt.Sprint(s.committed(group)) })
	second.leave()
	until(func() bool { return s.state(group) == "Empty" }, func() string { return s.state(group) })
	must(s.produce(numbered(topic, 900, 12, 6)))
	third := s.join(group, topic, balancer)
	defer third.stop()
	until(func() bool { return len(third.read()) >= 12 }, third.String)
	third.leave()
	fresh := values(third.read())
	sort.Ints(fresh)
	equal(fresh, from(900, 912), "a new member goes on after what was committed")
}

func (s *suite) alterAndDelete() {
	topic, group := s.topic(2, nil), s.fresh()
	must(s.produce(numbered(topic, 0, 20, 2)))
	member := s.join(group, topic, kgo.Balancers(kgo.RangeBalancer()))
	defer member.stop()
	until(func() bool { return len(distinct(member)) == 20 }, member.String)
	described := got(s.admin.DescribeGroups(within(), group))[group]
	equal([]any{described.State, described.Protocol, len(described.Members)}, []any{"Stable", "range", 1}, "the group")
	equal(described.Members[0].ClientID, "kgo", "its member")
	refused(got(s.admin.DeleteGroups(within(), group)).Error(), kerr.NonEmptyGroup, "with a member")
	member.leave()
	until(func() bool { return s.state(group) == "Empty" }, func() string { return s.state(group) })
	equal(s.committed(group), map[int32]int64{0: 10, 1: 10}, "the offsets of the group")
	altered := kadm.Offsets{}
	altered.AddOffset(topic, 0, 7, -1)
	must(s.admin.CommitAllOffsets(within(), group, altered))
	equal(s.committed(group), map[int32]int64{0: 7, 1: 10}, "the altered offsets")
	lag := got(s.admin.Lag(within(), group))[group].Lag
	equal([]int64{lag[topic][0].Lag, lag[topic][1].Lag}, []int64{3, 0}, "its lag")
	one := kadm.TopicsSet{}
	one.Add(topic, 1)
	must(got(s.admin.DeleteOffsets(within(), group, one)).Error())
	equal(s.committed(group), map[int32]int64{0: 7}, "the offsets that are left")
	must(got(s.admin.DeleteGroups(within(), group)).Error())
	equal(s.state(group), "not listed", "a deleted group")
	equal(s.committed(group), map[int32]int64{}, "its offsets")
	refused(got(s.admin.DeleteGroups(within(), group)).Error(), kerr.GroupIDNotFound, "deleting it again")
}

// Reads, doubles and writes in transactions, of which one is given up: what it read is read again, and nobody who reads what
// is committed ever sees what it wrote.
func (s *suite) exactlyOnce() {
	input, output, group := s.topic(1, nil), s.topic(1, nil), s.fresh()
	must(s.produce(numbered(input, 0, 100, 1)))
	session := got(kgo.NewGroupTransactSession(
		kgo.SeedBrokers(strings.Split(s.bootstrap, ",")...), kgo.TransactionalID(group), kgo.ConsumerGroup(group), kgo.ConsumeTopics(input),
		kgo.RequireStableFetchOffsets(), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond)))
	defer session.Close()
	for turn, done := 0, 0; done < 100; turn++ {
		must(session.Begin())
		fetches := session.PollRecords(within(), 20)
		must(fetches.Err())
		for _, record := range fetches.Records() {
			doubled := &kgo.Record{Topic: output, Timestamp: record.Timestamp, Value: fmt.Append(nil, 2*values([]*kgo.Record{record})[0])}
			session.Produce(within(), doubled, nil)
		}
		// What is not sent yet would never be, if it is given up.
		must(session.Client().Flush(within()))
		try := kgo.TransactionEndTry(turn != 1)
		committed := got(session.End(within(), try))
		equal(committed, bool(try), "whether it is committed")
		if committed {
			done += fetches.NumRecords()
		}
	}
	// The marker that commits them may come a moment after the answer.
	until(func() bool { return s.committed(group)[0] == 100 }, func() string { return fmt.Sprint(s.committed(group)) })
	read := s.read(output, 0, kgo.NewOffset().AtStart(), 100, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	for n, value := range values(read) {
		equal(value, 2*n, "a doubled record")
	}
	all := s.read(output, 0, kgo.NewOffset().AtStart(), 101)
	holds(len(all) > 100, "what was given up is there for who reads all")
	// It is complete when all markers are written, and decided before.
	state := func() string {
		found := got(s.admin.DescribeTransactions(within(), group))[group]
		must(found.Err)
		return found.State
	}
	until(func() bool { return state() == "CompleteCommit" }, state)
}

func (s *suite) fenced() {
	topic, id := s.topic(1, nil), s.fresh()
	open := func() *kgo.Client {
		client := s.connect(kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		must(client.BeginTransaction())
		must(client.ProduceSync(within(), record(topic, 0, at(0), "0")).FirstErr())
		return client
	}
	zombie := open()
	defer zombie.Close()
	successor := open()
	defer successor.Close()
	holds(zombie.ProduceSync(within(), record(topic, 0, at(1), "1")).FirstErr() != nil, "a zombie must not write")
	must(successor.EndTransaction(within(), kgo.TryCommit))
	read := s.read(topic, 0, kgo.NewOffset().AtStart(), 1, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	// The zombie's record, and the marker that gave it up.
	equal(offsets(read), []int64{2}, "what is committed")
}

// One of several members of a group, for a test that asks others to join as well.
func printAsMember(s *suite, group, topic string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client := s.connect(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(300*time.Millisecond))
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(record *kgo.Record) { fmt.Println(string(record.Value)) })
	}
	must(client.CommitUncommittedOffsets(within()))
	client.Close()
}
