// SPDX-License-Identifier: Apache-2.0

// segmentio's kafka-go: no idempotence, old versions, a connection a purpose.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"time"

	. "interop/checks"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
)

var (
	ctx    = context.Background()
	codecs = map[string]kafka.Compression{"none": 0, "gzip": compress.Gzip, "snappy": compress.Snappy, "lz4": compress.Lz4, "zstd": compress.Zstd}
	client = &kafka.Client{Addr: kafka.TCP(Bootstrap), Timeout: 20 * time.Second}
)

func create(what string, partitions int) string {
	r, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: Name(what), NumPartitions: partitions, ReplicationFactor: 1}}})
	Must(err, "create ", what)
	Must(r.Errors[Name(what)], "create ", what)
	return Name(what)
}

func writer(topic string, change ...func(*kafka.Writer)) *kafka.Writer {
	w := &kafka.Writer{Addr: kafka.TCP(Bootstrap), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: 10 * time.Millisecond, MaxAttempts: 60,
		Balancer: &kafka.RoundRobin{}, WriteBackoffMin: 50 * time.Millisecond, WriteBackoffMax: 200 * time.Millisecond}
	for _, f := range change {
		f(w)
	}
	return w
}

func messages(from, to int) (out []kafka.Message) {
	for i := from; i < to; i++ {
		out = append(out, kafka.Message{Value: []byte(strconv.Itoa(i))})
	}
	return out
}

func send(topic string, m []kafka.Message, change ...func(*kafka.Writer)) {
	w := writer(topic, change...)
	defer w.Close()
	Must(w.WriteMessages(ctx, m...), "produce")
}

func reader(topic string, change ...func(*kafka.ReaderConfig)) *kafka.Reader {
	c := kafka.ReaderConfig{Brokers: []string{Bootstrap}, Topic: topic, MinBytes: 1, MaxBytes: 10000000, MaxWait: 200 * time.Millisecond,
		StartOffset: kafka.FirstOffset, HeartbeatInterval: 300 * time.Millisecond, SessionTimeout: 10 * time.Second, RebalanceTimeout: 10 * time.Second,
		WatchPartitionChanges: true, JoinGroupBackoff: 200 * time.Millisecond, ReadBackoffMax: 200 * time.Millisecond}
	for _, f := range change {
		f(&c)
	}
	return kafka.NewReader(c)
}

func read(r *kafka.Reader, count int) (out []kafka.Message) {
	end, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	for len(out) < count {
		m, err := r.FetchMessage(end)
		Must(err, len(out), " of ", count, " records")
		out = append(out, m)
	}
	return out
}

func all(topic string, count int) []kafka.Message {
	r := reader(topic)
	defer r.Close()
	got := read(r, count)
	short, cancel := context.WithTimeout(ctx, 400*time.Millisecond)
	defer cancel()
	if _, err := r.FetchMessage(short); err == nil {
		Fail("a record too many")
	}
	return got
}

func codec(name string) {
	topic := create(name, 1)
	var m []kafka.Message
	for i := 0; i < 300; i++ {
		m = append(m, kafka.Message{Key: []byte(fmt.Sprint("k", i)), Value: bytes.Repeat([]byte("x"), 200), Time: time.UnixMilli(Then + int64(i)),
			Headers: []kafka.Header{{Key: "a", Value: []byte("1")}}})
	}
	send(topic, m, func(w *kafka.Writer) { w.Compression = codecs[name] })
	for i, r := range all(topic, 300) {
		Eq(r.Offset, int64(i), "offset")
		Eq(string(r.Key), fmt.Sprint("k", i), "key")
		Eq(r.Time.UnixMilli(), Then+int64(i), "timestamp")
		Eq(len(r.Value)+len(r.Headers), 201, "value and header")
	}
	Ask("stored " + topic + " " + name + " 300")
}

func consumeFrom() {
	topic := create("from", 1)
	var m []kafka.Message
	for i := 0; i < 20; i++ {
		m = append(m, kafka.Message{Value: []byte(strconv.Itoa(i)), Time: time.UnixMilli(Then + int64(i)*1000)})
	}
	send(topic, m)
	r := reader(topic)
	defer r.Close()
	Must(r.SetOffset(kafka.LastOffset), "end")
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	_, err := r.FetchMessage(short)
	cancel()
	if err == nil {
		Fail("a record at the end")
	}
	Must(r.SetOffsetAt(ctx, time.UnixMilli(Then+6500)), "timestamp")
	Eq(read(r, 1)[0].Offset, int64(7), "by timestamp")
	Must(r.SetOffset(3), "seek")
	Eq(string(read(r, 1)[0].Value), "3", "by offset")
	o, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0)}}})
	Must(err, "offsets")
	Eq(fmt.Sprint(o.Topics[topic][0].FirstOffset, o.Topics[topic][0].LastOffset), "0 20", "offsets")
}

func inGroup(group string) func(*kafka.ReaderConfig) {
	return func(c *kafka.ReaderConfig) { c.GroupID = group }
}

type member struct {
	*kafka.Reader
	sync.Mutex
	from map[int]bool
	seen map[string]bool
	end  context.CancelFunc
	done chan struct{}
}

func join(topic, group string) *member {
	m := &member{Reader: reader(topic, inGroup(group)), from: map[int]bool{}, seen: map[string]bool{}, done: make(chan struct{})}
	var running context.Context
	running, m.end = context.WithCancel(ctx)
	go func() {
		defer close(m.done)
		for running.Err() == nil {
			r, err := m.FetchMessage(running)
			if err != nil {
				continue
			}
			m.Lock()
			m.seen[string(r.Value)] = true
			m.from[r.Partition] = true
			m.Unlock()
			m.CommitMessages(running, r)
		}
		m.Close()
	}()
	return m
}

func (m *member) parts(forget bool) int {
	m.Lock()
	defer m.Unlock()
	n := len(m.from)
	if forget {
		m.from = map[int]bool{}
	}
	return n
}

func (m *member) count() int {
	m.Lock()
	defer m.Unlock()
	return len(m.seen)
}

func (m *member) stop() {
	m.end()
	<-m.done
}

func group() {
	topic := create("group", 4)
	send(topic, messages(0, 40))
	a := join(topic, Name("group"))
	Until("all for the first", 30, func() bool { return a.count() == 40 })
	b := join(topic, Name("group"))
	n := 40
	// What a member has shows by what it reads.
	more := func() {
		a.parts(true)
		b.parts(true)
		send(topic, messages(n, n+8))
		n += 8
		time.Sleep(300 * time.Millisecond)
	}
	Until("two partitions each", 30, func() bool { more(); return a.parts(false) == 2 && b.parts(false) == 2 })
	a.stop()
	Until("all partitions for the one that is left", 30, func() bool { more(); return b.parts(false) == 4 })
	b.stop()
}

func commit() {
	topic := create("commit", 1)
	send(topic, messages(0, 20))
	r := reader(topic, inGroup(Name("commit")))
	got := read(r, 20)
	Must(r.CommitMessages(ctx, got[:12]...), "commit")
	Must(r.Close(), "close")
	r = reader(topic, inGroup(Name("commit")))
	Eq(string(read(r, 8)[0].Value), "12", "where it goes on")
	Must(r.Close(), "close")
	o, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: Name("commit"), Topics: map[string][]int{topic: {0}}})
	Must(err, "OffsetFetch")
	Eq(o.Topics[topic][0].CommittedOffset, int64(12), "committed")
}

func restart() {
	topic := create("restart", 2)
	m := join(topic, Name("restart"))
	w := writer(topic)
	count := 0
	feed := func(n int) {
		for i := 0; i < n; i++ {
			// It does not try again by itself where nobody listens.
			Until("the answer", 40, func() bool { return w.WriteMessages(ctx, messages(count, count+1)...) == nil })
			count++
		}
	}
	feed(30)
	Until("the first", 30, func() bool { return m.count() == count })
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		feed(100)
	}()
	Ask("restart")
	if e := <-done; e != nil {
		panic(e)
	}
	w.Close()
	Until("all records", 40, func() bool { return m.count() == count })
	m.stop()
}

func large() {
	topic := create("large", 1)
	value := make([]byte, 900000)
	rand.New(rand.NewSource(1)).Read(value)
	send(topic, []kafka.Message{{Value: value}, {Value: value}, {Value: value}}, func(w *kafka.Writer) { w.BatchBytes = 1000000 })
	for _, r := range all(topic, 3) {
		Eq(bytes.Equal(r.Value, value), true, "value")
	}
}

func wantError(err, want error) {
	if !errors.Is(err, want) {
		Fail("got %v, want %v", err, want)
	}
}

func errorsOf() {
	topic := create("errors", 1)
	w := writer(topic, func(w *kafka.Writer) { w.BatchBytes = 8000000; w.MaxAttempts = 1 })
	defer w.Close()
	err := w.WriteMessages(ctx, kafka.Message{Value: make([]byte, 3000000)})
	if many, is := err.(kafka.WriteErrors); is {
		err = many[0]
	}
	wantError(err, kafka.MessageSizeTooLarge)
	w = writer(Name("no-such"), func(w *kafka.Writer) { w.MaxAttempts = 1 })
	defer w.Close()
	err = w.WriteMessages(ctx, kafka.Message{Value: []byte("x")})
	if many, is := err.(kafka.WriteErrors); is {
		err = many[0]
	}
	wantError(err, kafka.UnknownTopicOrPartition)
	d, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{Name("no-such")}})
	Must(err, "delete")
	wantError(d.Errors[Name("no-such")], kafka.UnknownTopicOrPartition)
	_, err = client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: Name("none"), GenerationID: 7, MemberID: "who",
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 1}}}})
	Must(err, "commit")
}

// Once the coordinator has read its state, and whatever the one before left open is aborted.
func initProducer(id string) *kafka.InitProducerIDResponse {
	var p *kafka.InitProducerIDResponse
	defer func() {
		if p != nil && p.Error != nil {
			fmt.Println("InitProducerId:", p.Error)
		}
	}()
	Until("a producer id", 20, func() bool {
		var err error
		p, err = client.InitProducerID(ctx, &kafka.InitProducerIDRequest{TransactionalID: id, TransactionTimeoutMs: 30000, ProducerID: -1, ProducerEpoch: -1})
		if err != nil {
			fmt.Println("InitProducerId:", err)
		}
		return err == nil && p.Error == nil
	})
	return p
}

func transactions() {
	topic, id := create("txn", 1), Name("txn")
	p := initProducer(id)
	a, err := client.AddPartitionsToTxn(ctx, &kafka.AddPartitionsToTxnRequest{TransactionalID: id, ProducerID: p.Producer.ProducerID,
		ProducerEpoch: p.Producer.ProducerEpoch, Topics: map[string][]kafka.AddPartitionToTxn{topic: {{Partition: 0}}}})
	Must(err, "AddPartitionsToTxn")
	Must(a.Topics[topic][0].Error, "AddPartitionsToTxn")
	q := initProducer(id)
	Eq(q.Producer.ProducerEpoch > p.Producer.ProducerEpoch, true, "a newer epoch")
	e, err := client.EndTxn(ctx, &kafka.EndTxnRequest{TransactionalID: id, ProducerID: p.Producer.ProducerID, ProducerEpoch: p.Producer.ProducerEpoch, Committed: true})
	Must(err, "EndTxn")
	if e.Error == nil {
		Fail("the older one was not fenced")
	}
}

func main() {
	for _, c := range Codecs {
		Check("codec "+c, func() { codec(c) })
	}
	Check("consume from beginning, end, timestamp", consumeFrom)
	Check("group with two members and a rebalance", group)
	Check("commit, and go on from there", commit)
	Check("restart of the server in the middle", restart)
	Check("large messages", large)
	Check("errors", errorsOf)
	Check("transaction, and a newer producer fences the older one", transactions)
}
