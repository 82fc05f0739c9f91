// SPDX-License-Identifier: Apache-2.0

// franz-go: idempotent and cooperative by default, newest versions of all requests.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sort"
	"strconv"
	"sync"
	"time"

	. "interop/checks"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var ctx = context.Background()

func client(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(Bootstrap), kgo.MetadataMaxAge(2 * time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond)}, opts...)...)
	Must(err, "client")
	return c
}

var admin *kgo.Client

func create(what string, partitions int32) string {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = Name(what), partitions, 1
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Topics = append(q.Topics, t)
	r, err := q.RequestWith(ctx, admin)
	Must(err, "create ", what)
	Must(kerr.ErrorForCode(r.Topics[0].ErrorCode), "create ", what)
	return Name(what)
}

func values(from, to int) (out []*kgo.Record) {
	for i := from; i < to; i++ {
		out = append(out, &kgo.Record{Value: []byte(strconv.Itoa(i))})
	}
	return out
}

func send(topic string, records []*kgo.Record, opts ...kgo.Opt) {
	c := client(append(opts, kgo.DefaultProduceTopic(topic))...)
	defer c.Close()
	Must(c.ProduceSync(ctx, records...).FirstErr(), "produce")
}

func read(c *kgo.Client, count int) (out []*kgo.Record) {
	end, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	for len(out) < count {
		f := c.PollFetches(end)
		if end.Err() != nil {
			Fail("%d of %d records: %v", len(out), count, f.Err())
		}
		out = append(out, f.Records()...)
	}
	return out
}

func silent(c *kgo.Client, d time.Duration, what string) {
	end, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for end.Err() == nil {
		Eq(c.PollFetches(end).NumRecords(), 0, what)
	}
}

func all(topic string, count int, opts ...kgo.Opt) []*kgo.Record {
	c := client(append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	defer c.Close()
	got := read(c, count)
	silent(c, 300*time.Millisecond, "records too many")
	return got
}

func codec(name string) {
	topic := create(name, 1)
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	var records []*kgo.Record
	for i := 0; i < 300; i++ {
		records = append(records, &kgo.Record{Key: []byte(fmt.Sprint("k", i)), Value: bytes.Repeat([]byte("x"), 200),
			Headers:   []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}},
			Timestamp: time.UnixMilli(Then + int64(i))})
	}
	send(topic, records, kgo.ProducerBatchCompression(codecs[name]), kgo.ProducerLinger(20*time.Millisecond))
	for i, r := range all(topic, 300) {
		Eq(r.Offset, int64(i), "offset")
		Eq(string(r.Key), fmt.Sprint("k", i), "key")
		Eq(len(r.Value), 200, "value")
		Eq(r.Timestamp.UnixMilli(), Then+int64(i), "timestamp")
		Eq(len(r.Headers), 2, "headers")
		Eq(r.Headers[1].Value == nil, true, "null header")
	}
	Ask("stored " + topic + " " + name + " 300")
}

func consumeFrom() {
	topic := create("from", 1)
	var records []*kgo.Record
	for i := 0; i < 20; i++ {
		records = append(records, &kgo.Record{Value: []byte(strconv.Itoa(i)), Timestamp: time.UnixMilli(Then + int64(i)*1000)})
	}
	send(topic, records)
	for _, c := range []struct {
		at   kgo.Offset
		want int64
	}{{kgo.NewOffset().At(5), 5}, {kgo.NewOffset().AfterMilli(Then + 6500), 7}, {kgo.NewOffset().AtEnd().Relative(-2), 18}, {kgo.NewOffset().AtStart(), 0}} {
		cl := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: c.at}}))
		Eq(read(cl, 1)[0].Offset, c.want, "first offset")
		cl.Close()
	}
	cl := client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	defer cl.Close()
	silent(cl, 500*time.Millisecond, "at the end")
	send(topic, values(20, 21))
	Eq(string(read(cl, 1)[0].Value), "20", "what is new")
}

type member struct {
	*kgo.Client
	sync.Mutex
	share map[int32]bool
	seen  []string
	end   context.CancelFunc
	done  chan struct{}
}

func join(topic, group string, opts ...kgo.Opt) *member {
	m := &member{share: map[int32]bool{}, done: make(chan struct{})}
	set := func(to bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, p map[string][]int32) {
			m.Lock()
			defer m.Unlock()
			for _, x := range p[topic] {
				if to {
					m.share[x] = true
				} else {
					delete(m.share, x)
				}
			}
		}
	}
	m.Client = client(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(set(true)), kgo.OnPartitionsRevoked(set(false)), kgo.OnPartitionsLost(set(false)))...)
	var running context.Context
	running, m.end = context.WithCancel(ctx)
	go func() {
		defer close(m.done)
		for running.Err() == nil {
			f := m.PollFetches(running)
			m.Lock()
			for _, r := range f.Records() {
				m.seen = append(m.seen, string(r.Value))
			}
			m.Unlock()
		}
		m.Client.Close()
	}()
	return m
}

func (m *member) has() int {
	m.Lock()
	defer m.Unlock()
	return len(m.share)
}

func (m *member) read() int {
	m.Lock()
	defer m.Unlock()
	return len(m.seen)
}

func (m *member) stop() {
	m.end()
	<-m.done
}

func group(name string, balancer kgo.GroupBalancer) {
	topic := create(name, 4)
	send(topic, values(0, 40), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	a := join(topic, Name(name), kgo.Balancers(balancer))
	Until("all for the first", 30, func() bool { return a.read() == 40 })
	Must(a.CommitUncommittedOffsets(ctx), "commit")
	b := join(topic, Name(name), kgo.Balancers(balancer))
	Until("two partitions each", 30, func() bool { return a.has() == 2 && b.has() == 2 })
	a.stop()
	Until("all partitions for the one that is left", 30, func() bool { return b.has() == 4 })
	send(topic, values(40, 48), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	Until("what came later", 30, func() bool { return b.read() == 8 })
	b.stop()
}

func static() {
	topic := create("static", 1)
	send(topic, values(0, 4))
	a := join(topic, Name("static"), kgo.InstanceID("one"))
	Until("all for the first", 30, func() bool { return a.read() == 4 })
	Must(a.CommitUncommittedOffsets(ctx), "commit")
	a.stop()
	b := join(topic, Name("static"), kgo.InstanceID("one"))
	Until("the place back", 30, func() bool { return b.has() == 1 })
	Eq(b.read(), 0, "records again")
	b.stop()
}

func commit() {
	topic := create("commit", 1)
	send(topic, values(0, 20))
	c := client(kgo.ConsumerGroup(Name("commit")), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := read(c, 20)
	Must(c.CommitRecords(ctx, got[:12]...), "commit")
	c.Close()
	c = client(kgo.ConsumerGroup(Name("commit")), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
	defer c.Close()
	Eq(string(read(c, 8)[0].Value), "12", "where it goes on")
}

func overAStop(how string) {
	topic := create(how, 2)
	p := client(kgo.DefaultProduceTopic(topic))
	m := join(topic, Name(how), kgo.SessionTimeout(30*time.Second))
	stop := make(chan struct{})
	var feeder, sent sync.WaitGroup
	var failed error
	count := 0
	feeder.Add(1)
	go func() {
		defer feeder.Done()
		for ; ; count++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			sent.Add(1)
			p.Produce(ctx, &kgo.Record{Value: []byte(strconv.Itoa(count))}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed = err
				}
				sent.Done()
			})
		}
	}()
	Until("the first hundred", 30, func() bool { return m.read() > 100 })
	Ask(how)
	time.Sleep(500 * time.Millisecond)
	close(stop)
	feeder.Wait()
	sent.Wait()
	Must(failed, "produce")
	p.Close()
	distinct := func() int {
		m.Lock()
		defer m.Unlock()
		d := map[string]bool{}
		for _, v := range m.seen {
			d[v] = true
		}
		return len(d)
	}
	Until("all records", 40, func() bool { return distinct() == count })
	m.stop()
	Eq(len(all(topic, count)), count, "records in the topic")
}

func large() {
	topic := create("large", 1)
	value := make([]byte, 900000)
	rand.New(rand.NewSource(1)).Read(value)
	send(topic, []*kgo.Record{{Value: value}, {Value: value}, {Value: value}}, kgo.ProducerBatchMaxBytes(1000000))
	for _, r := range all(topic, 3, kgo.FetchMaxPartitionBytes(1000)) {
		Eq(bytes.Equal(r.Value, value), true, "value")
	}
}

func wantError(err, want error) {
	if !errors.Is(err, want) {
		Fail("got %v, want %v", err, want)
	}
}

func tooLarge() {
	c := client(kgo.DefaultProduceTopic(create("toolarge", 1)), kgo.ProducerBatchMaxBytes(8000000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer c.Close()
	wantError(c.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 3000000)}).FirstErr(), kerr.MessageTooLarge)
	Must(c.ProduceSync(ctx, &kgo.Record{Value: []byte("after")}).FirstErr(), "the next one")
}

func unknownTopic() {
	c := client(kgo.DefaultProduceTopic(Name("no-such")), kgo.UnknownTopicRetries(1))
	defer c.Close()
	wantError(c.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(), kerr.UnknownTopicOrPartition)
	d := client(kgo.DefaultProduceTopic(Name("by-itself")), kgo.AllowAutoTopicCreation())
	defer d.Close()
	Must(d.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(), "made on first use")
}

func txn(id string, opts ...kgo.Opt) *kgo.Client {
	return client(append(opts, kgo.TransactionalID(Name(id)), kgo.TransactionTimeout(30*time.Second))...)
}

func transactions() {
	topic := create("txn", 2)
	c := txn("txn", kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	for i := 0; i < 4; i++ {
		Must(c.BeginTransaction(), "begin")
		Must(c.ProduceSync(ctx, values(i*10, i*10+10)...).FirstErr(), "produce")
		Must(c.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 0)), "end")
	}
	c.Close()
	var got []int
	for _, r := range all(topic, 20, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		n, _ := strconv.Atoi(string(r.Value))
		got = append(got, n)
	}
	sort.Ints(got)
	Eq(got[0]*1000+got[10], 20, "first of both")
	all(topic, 40)
}

func etl() {
	source, target := create("etl-in", 1), create("etl-out", 1)
	send(source, values(0, 20))
	s, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(Bootstrap), kgo.TransactionalID(Name("etl")), kgo.ConsumerGroup(Name("etl")),
		kgo.ConsumeTopics(source), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.RequireStableFetchOffsets(), kgo.DefaultProduceTopic(target), kgo.MaxConcurrentFetches(1))
	Must(err, "session")
	defer s.Close()
	for done, attempt := 0, 0; done < 20; attempt++ {
		f := s.PollFetches(ctx)
		Must(s.Begin(), "begin")
		f.EachRecord(func(r *kgo.Record) {
			s.Produce(ctx, &kgo.Record{Value: r.Value}, nil)
		})
		committed, err := s.End(ctx, kgo.TransactionEndTry(attempt > 0))
		Must(err, "end")
		if committed {
			done += f.NumRecords()
		}
		if attempt > 50 {
			Fail("no end")
		}
	}
	for i, r := range all(target, 20, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		Eq(string(r.Value), strconv.Itoa(i), "value")
	}
}

func fenced() {
	topic := create("fence", 1)
	a, b := txn("fence", kgo.DefaultProduceTopic(topic)), txn("fence", kgo.DefaultProduceTopic(topic))
	defer a.Close()
	defer b.Close()
	Must(a.BeginTransaction(), "begin")
	Must(a.ProduceSync(ctx, values(0, 1)...).FirstErr(), "produce")
	Must(b.BeginTransaction(), "begin")
	Must(b.ProduceSync(ctx, values(1, 2)...).FirstErr(), "produce")
	err := a.ProduceSync(ctx, values(2, 3)...).FirstErr()
	if err == nil {
		err = a.EndTransaction(ctx, kgo.TryCommit)
	}
	if !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) {
		Fail("not fenced: %v", err)
	}
	Must(b.EndTransaction(ctx, kgo.TryCommit), "commit")
	Eq(string(all(topic, 1, kgo.FetchIsolationLevel(kgo.ReadCommitted()))[0].Value), "1", "committed")
}

func metadata() {
	topic := create("by-id", 2)
	q := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	q.Topics = append(q.Topics, t)
	r, err := q.RequestWith(ctx, admin)
	Must(err, "metadata")
	Eq(len(r.Topics[0].Partitions), 2, "partitions")
	if r.Topics[0].TopicID == [16]byte{} {
		Fail("no topic id")
	}
	e := kmsg.NewPtrOffsetForLeaderEpochRequest()
	et, ep := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	et.Topic, ep.LeaderEpoch, ep.CurrentLeaderEpoch = topic, r.Topics[0].Partitions[0].LeaderEpoch, -1
	et.Partitions = append(et.Partitions, ep)
	e.Topics = append(e.Topics, et)
	er, err := e.RequestWith(ctx, admin)
	Must(err, "OffsetForLeaderEpoch")
	Must(kerr.ErrorForCode(er.Topics[0].Partitions[0].ErrorCode), "OffsetForLeaderEpoch")
	Eq(er.Topics[0].Partitions[0].EndOffset, int64(0), "end offset")
}

func main() {
	admin = client()
	for _, c := range Codecs {
		Check("codec "+c, func() { codec(c) })
	}
	Check("consume from beginning, end, timestamp", consumeFrom)
	Check("group with two members and a rebalance, range", func() { group("range", kgo.RangeBalancer()) })
	Check("group with two members and a rebalance, cooperative", func() { group("coop", kgo.CooperativeStickyBalancer()) })
	Check("static member comes back", static)
	Check("commit, and go on from there", commit)
	Check("restart of the server in the middle", func() { overAStop("restart") })
	Check("kill of the server in the middle", func() { overAStop("kill") })
	Check("large messages", large)
	Check("error, message too large", tooLarge)
	Check("error, unknown topic", unknownTopic)
	Check("transactions, committed and aborted", transactions)
	Check("transaction that reads, works and writes", etl)
	Check("error, fenced by a newer producer", fenced)
	Check("topic ids and leader epochs", metadata)
}
