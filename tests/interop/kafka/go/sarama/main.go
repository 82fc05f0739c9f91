// SPDX-License-Identifier: Apache-2.0

// sarama: it asks for just the versions of the Kafka that it is told (here 3.6, its highest flows).
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

	"github.com/IBM/sarama"
)

var codecs = map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}

func config(change ...func(*sarama.Config)) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Retry.Max = 300
	c.Producer.Retry.Backoff = 100 * time.Millisecond
	c.Metadata.Retry.Max = 100
	c.Metadata.Retry.Backoff = 100 * time.Millisecond
	c.Metadata.RefreshFrequency = 2 * time.Second
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	c.Consumer.Group.Session.Timeout = 10 * time.Second
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Retry.Backoff = 100 * time.Millisecond
	for _, f := range change {
		f(c)
	}
	return c
}

func idempotent(c *sarama.Config) {
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
}

func create(what string, partitions int32) string {
	a, err := sarama.NewClusterAdmin([]string{Bootstrap}, config())
	Must(err, "admin")
	defer a.Close()
	Must(a.CreateTopic(Name(what), &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false), "create ", what)
	return Name(what)
}

func messages(topic string, from, to int) (out []*sarama.ProducerMessage) {
	for i := from; i < to; i++ {
		out = append(out, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(strconv.Itoa(i))})
	}
	return out
}

func producer(change ...func(*sarama.Config)) sarama.SyncProducer {
	p, err := sarama.NewSyncProducer([]string{Bootstrap}, config(change...))
	Must(err, "producer")
	return p
}

func send(m []*sarama.ProducerMessage, change ...func(*sarama.Config)) {
	p := producer(change...)
	defer p.Close()
	Must(p.SendMessages(m), "produce")
}

func all(topic string, from int64, count int, change ...func(*sarama.Config)) (out []*sarama.ConsumerMessage) {
	c, err := sarama.NewConsumer([]string{Bootstrap}, config(change...))
	Must(err, "consumer")
	defer c.Close()
	p, err := c.ConsumePartition(topic, 0, from)
	Must(err, "consume")
	defer p.Close()
	end := time.After(40 * time.Second)
	for len(out) < count {
		select {
		case m := <-p.Messages():
			out = append(out, m)
		case <-end:
			Fail("%d of %d records", len(out), count)
		}
	}
	select {
	case <-p.Messages():
		Fail("a record too many")
	case <-time.After(300 * time.Millisecond):
	}
	return out
}

func codec(name string) {
	topic := create(name, 1)
	var m []*sarama.ProducerMessage
	for i := 0; i < 300; i++ {
		m = append(m, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(fmt.Sprint("k", i)),
			Value: sarama.ByteEncoder(bytes.Repeat([]byte("x"), 200)), Timestamp: time.UnixMilli(Then + int64(i)),
			Headers: []sarama.RecordHeader{{Key: []byte("a"), Value: []byte("1")}}})
	}
	send(m, func(c *sarama.Config) {
		c.Producer.Compression = codecs[name]
		c.Producer.Flush.Messages = 100
		c.Producer.Flush.Frequency = 50 * time.Millisecond
	})
	for i, r := range all(topic, sarama.OffsetOldest, 300) {
		Eq(r.Offset, int64(i), "offset")
		Eq(string(r.Key), fmt.Sprint("k", i), "key")
		Eq(r.Timestamp.UnixMilli(), Then+int64(i), "timestamp")
		Eq(len(r.Value)+len(r.Headers), 201, "value and header")
	}
	Ask("stored " + topic + " " + name + " 300")
}

func consumeFrom() {
	topic := create("from", 1)
	var m []*sarama.ProducerMessage
	for i := 0; i < 20; i++ {
		m = append(m, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(strconv.Itoa(i)), Timestamp: time.UnixMilli(Then + int64(i)*1000)})
	}
	send(m)
	c, err := sarama.NewClient([]string{Bootstrap}, config())
	Must(err, "client")
	defer c.Close()
	for when, want := range map[int64]int64{sarama.OffsetOldest: 0, sarama.OffsetNewest: 20, Then: 0, Then + 6500: 7, Then + 19000: 19, Then + 19001: -1} {
		got, err := c.GetOffset(topic, 0, when)
		Must(err, "offset")
		Eq(got, want, fmt.Sprint("offset for ", when))
	}
	Eq(string(all(topic, 7, 13)[0].Value), "7", "from the middle")
	all(topic, sarama.OffsetNewest, 0)
}

type member struct {
	sarama.ConsumerGroup
	sync.Mutex
	share  int
	seen   []string
	end    context.CancelFunc
	done   chan struct{}
	commit bool
}

func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	m.Lock()
	defer m.Unlock()
	m.share = 0
	for _, p := range s.Claims() {
		m.share += len(p)
	}
	return nil
}

func (m *member) Cleanup(s sarama.ConsumerGroupSession) error {
	return nil
}

func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, c sarama.ConsumerGroupClaim) error {
	for {
		select {
		case r, more := <-c.Messages():
			if !more {
				return nil
			}
			m.Lock()
			m.seen = append(m.seen, string(r.Value))
			m.Unlock()
			s.MarkMessage(r, "note")
			s.Commit()
		case <-s.Context().Done():
			return nil
		}
	}
}

func join(topic, group string, change ...func(*sarama.Config)) *member {
	m := &member{done: make(chan struct{})}
	var err error
	m.ConsumerGroup, err = sarama.NewConsumerGroup([]string{Bootstrap}, group, config(change...))
	Must(err, "group")
	var running context.Context
	running, m.end = context.WithCancel(context.Background())
	go func() {
		defer close(m.done)
		for running.Err() == nil {
			if err := m.Consume(running, []string{topic}, m); err != nil {
				fmt.Println("consume:", err)
				time.Sleep(100 * time.Millisecond)
			}
		}
		m.Close()
	}()
	return m
}

func (m *member) has() int {
	m.Lock()
	defer m.Unlock()
	return m.share
}

func (m *member) distinct() int {
	m.Lock()
	defer m.Unlock()
	d := map[string]bool{}
	for _, v := range m.seen {
		d[v] = true
	}
	return len(d)
}

func (m *member) stop() {
	m.end()
	<-m.done
}

func group(name string, strategy sarama.BalanceStrategy) {
	topic := create(name, 4)
	mine := func(c *sarama.Config) {
		c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
	}
	send(messages(topic, 0, 40), func(c *sarama.Config) { c.Producer.Partitioner = sarama.NewRoundRobinPartitioner })
	a := join(topic, Name(name), mine)
	Until("all for the first", 30, func() bool { return a.distinct() == 40 })
	b := join(topic, Name(name), mine)
	Until("two partitions each", 30, func() bool { return a.has() == 2 && b.has() == 2 })
	a.stop()
	Until("all partitions for the one that is left", 30, func() bool { return b.has() == 4 })
	send(messages(topic, 40, 48))
	Until("what came later", 30, func() bool { return b.distinct() == 8 })
	b.stop()
}

func commit() {
	topic := create("commit", 1)
	send(messages(topic, 0, 20))
	c, err := sarama.NewClient([]string{Bootstrap}, config())
	Must(err, "client")
	defer c.Close()
	for _, want := range []int64{-2, 12} {
		o, err := sarama.NewOffsetManagerFromClient(Name("commit"), c)
		Must(err, "offsets")
		p, err := o.ManagePartition(topic, 0)
		Must(err, "partition")
		at, note := p.NextOffset()
		Eq(at, want, "committed")
		if want == 12 {
			Eq(note, "note", "metadata")
		}
		p.MarkOffset(12, "note")
		o.Commit()
		p.AsyncClose() // without commits by themselves Close would wait for one
		Must(o.Close(), "close")
	}
	m := join(topic, Name("commit"))
	Until("the rest", 30, func() bool { return m.distinct() == 8 })
	m.stop()
	Eq(m.seen[0], "12", "where it goes on")
}

func restart() {
	topic := create("restart", 2)
	m := join(topic, Name("restart"), func(c *sarama.Config) { c.Consumer.Group.Session.Timeout = 30 * time.Second })
	p := producer(idempotent)
	count := 0
	feed := func(n int) {
		for i := 0; i < n; i++ {
			// Against Kafka it gives some up; what a program does then is try again.
			Until("an answer", 40, func() bool {
				err := p.SendMessages(messages(topic, count, count+1))
				var each sarama.ProducerErrors
				if errors.As(err, &each) {
					fmt.Println("produce:", each[0].Err)
				}
				return err == nil
			})
			count++
		}
	}
	feed(100)
	Until("the first", 30, func() bool { return m.distinct() == count })
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		feed(300)
	}()
	Ask("restart")
	if e := <-done; e != nil {
		panic(e)
	}
	p.Close()
	Until("all records", 40, func() bool { return m.distinct() == count })
	m.stop()
}

func large() {
	topic := create("large", 1)
	value := make([]byte, 900000)
	rand.New(rand.NewSource(1)).Read(value)
	for i := 0; i < 3; i++ {
		send([]*sarama.ProducerMessage{{Topic: topic, Value: sarama.ByteEncoder(value)}})
	}
	for _, r := range all(topic, sarama.OffsetOldest, 3, func(c *sarama.Config) { c.Consumer.Fetch.Default = 1000 }) {
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
	p := producer(func(c *sarama.Config) { c.Producer.MaxMessageBytes = 8000000; c.Producer.Retry.Max = 0 })
	defer p.Close()
	_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(make([]byte, 3000000))})
	wantError(err, sarama.ErrMessageSizeTooLarge)
	a, err := sarama.NewClusterAdmin([]string{Bootstrap}, config())
	Must(err, "admin")
	defer a.Close()
	wantError(a.DeleteTopic(Name("no-such")), sarama.ErrUnknownTopicOrPartition)
	wantError(a.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false), sarama.ErrTopicAlreadyExists)
	c, err := sarama.NewConsumer([]string{Bootstrap}, config(func(c *sarama.Config) { c.Metadata.Retry.Max = 1; c.Metadata.AllowAutoTopicCreation = false }))
	Must(err, "consumer")
	defer c.Close()
	_, err = c.ConsumePartition(topic, 0, 1000)
	wantError(err, sarama.ErrOffsetOutOfRange)
	_, err = c.ConsumePartition(Name("no-such"), 0, 0)
	wantError(err, sarama.ErrUnknownTopicOrPartition)
}

func transactional(id string) func(*sarama.Config) {
	return func(c *sarama.Config) {
		idempotent(c)
		c.Producer.Transaction.ID = Name(id)
		c.Producer.Transaction.Timeout = 30 * time.Second
	}
}

func transactions() {
	topic, source := create("txn", 1), create("txn-in", 1)
	p := producer(transactional("txn"))
	for i := 0; i < 4; i++ {
		Must(p.BeginTxn(), "begin")
		Must(p.SendMessages(messages(topic, i*10, i*10+10)), "produce")
		Must(p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{source: {{Partition: 0, Offset: int64(i)}}}, Name("txn")), "offsets")
		if i%2 == 0 {
			Must(p.CommitTxn(), "commit")
		} else {
			Must(p.AbortTxn(), "abort")
		}
	}
	p.Close()
	got := all(topic, sarama.OffsetOldest, 20, func(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted })
	Eq(string(got[0].Value)+string(got[10].Value), "020", "first of both")
	a, err := sarama.NewClusterAdmin([]string{Bootstrap}, config())
	Must(err, "admin")
	defer a.Close()
	o, err := a.ListConsumerGroupOffsets(Name("txn"), map[string][]int32{source: {0}})
	Must(err, "offsets")
	Eq(o.GetBlock(source, 0).Offset, int64(2), "offset of the last that was committed")
}

func fenced() {
	topic := create("fence", 1)
	a := producer(transactional("fence"))
	Must(a.BeginTxn(), "begin")
	Must(a.SendMessages(messages(topic, 0, 1)), "produce")
	b := producer(transactional("fence"))
	defer b.Close()
	err := a.CommitTxn()
	if err == nil {
		Fail("it was committed")
	}
	Must(b.BeginTxn(), "begin")
	Must(b.SendMessages(messages(topic, 1, 2)), "produce")
	Must(b.CommitTxn(), "commit")
	Eq(string(all(topic, sarama.OffsetOldest, 1, func(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted })[0].Value), "1", "committed")
}

func admin() {
	a, err := sarama.NewClusterAdmin([]string{Bootstrap}, config())
	Must(err, "admin")
	defer a.Close()
	topic := create("admin", 2)
	value := "7200000"
	Must(a.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}, false), "alter")
	entries, err := a.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}})
	Must(err, "describe")
	Eq(len(entries), 1, "settings")
	Eq(entries[0].Value, value, "setting")
	Must(a.CreatePartitions(topic, 3, nil, false), "partitions")
	m := join(topic, Name("admin"))
	Until("the group", 30, func() bool { return m.has() == 3 })
	g, err := a.DescribeConsumerGroups([]string{Name("admin")})
	Must(err, "describe")
	Eq(fmt.Sprint(g[0].State, len(g[0].Members)), "Stable1", "group")
	all, err := a.ListConsumerGroups()
	Must(err, "list")
	Eq(all[Name("admin")], "consumer", "listed")
	m.stop()
	Until("empty", 20, func() bool { return a.DeleteConsumerGroup(Name("admin")) == nil })
	Must(a.DeleteRecords(topic, map[int32]int64{0: 0}), "delete records")
	Must(a.DeleteTopic(topic), "delete")
}

func main() {
	for _, c := range Codecs {
		Check("codec "+c, func() { codec(c) })
	}
	Check("consume from beginning, end, timestamp", consumeFrom)
	Check("group with two members and a rebalance, range", func() { group("range", sarama.NewBalanceStrategyRange()) })
	Check("group with two members and a rebalance, sticky", func() { group("sticky", sarama.NewBalanceStrategySticky()) })
	Check("commit, and go on from there", commit)
	Check("restart of the server in the middle", restart)
	Check("large messages", large)
	Check("errors", errorsOf)
	Check("transactions, committed and aborted", transactions)
	Check("error, fenced by a newer producer", fenced)
	Check("admin", admin)
}
