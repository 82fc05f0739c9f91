// SPDX-License-Identifier: Apache-2.0
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.*;

/** Producer, consumer and admin client of Apache Kafka itself. */
public class Clients extends Checks {
	static final int COUNT = SHORT ? 100 : 300;
	/** An hour ago: what is older than its retention goes any moment. */
	static final long THEN = System.currentTimeMillis() - 3600000;
	static Admin admin;

	static KafkaProducer<String, byte[]> producer(Object... more) {
		Map<String, Object> c = new HashMap<>();
		c.put("bootstrap.servers", BOOTSTRAP);
		c.put("delivery.timeout.ms", 40000);
		c.put("request.timeout.ms", 20000);
		for (int i = 0; i < more.length; i += 2)
			c.put((String) more[i], more[i + 1]);
		return new KafkaProducer<>(c, new StringSerializer(), new ByteArraySerializer());
	}

	static KafkaConsumer<String, byte[]> consumer(String group, Object... more) {
		Map<String, Object> c = new HashMap<>();
		c.put("bootstrap.servers", BOOTSTRAP);
		if (group != null)
			c.put("group.id", name(group));
		c.put("auto.offset.reset", "earliest");
		c.put("enable.auto.commit", "false");
		c.put("session.timeout.ms", 10000);
		c.put("heartbeat.interval.ms", 500);
		c.put("metadata.max.age.ms", 1000);
		for (int i = 0; i < more.length; i += 2)
			c.put((String) more[i], more[i + 1]);
		return new KafkaConsumer<>(c, new StringDeserializer(), new ByteArrayDeserializer());
	}

	static String create(String what, int partitions, String... config) throws Exception {
		Map<String, String> c = new HashMap<>();
		for (int i = 0; i < config.length; i += 2)
			c.put(config[i], config[i + 1]);
		admin.createTopics(List.of(new NewTopic(name(what), partitions, (short) 1).configs(c))).all().get();
		return name(what);
	}

	static byte[] bytes(String s) {
		return s.getBytes();
	}

	static void send(String topic, int count, String value) throws Exception {
		try (KafkaProducer<String, byte[]> p = producer()) {
			for (int i = 0; i < count; i++)
				p.send(new ProducerRecord<>(topic, bytes(value + i)));
		}
	}

	static List<ConsumerRecord<String, byte[]>> read(KafkaConsumer<String, byte[]> c, int count) {
		List<ConsumerRecord<String, byte[]>> out = new ArrayList<>();
		long end = System.nanoTime() + 40_000_000_000L;
		while (out.size() < count) {
			c.poll(Duration.ofMillis(100)).forEach(out::add);
			if (System.nanoTime() > end)
				throw new AssertionError(out.size() + " of " + count + " records");
		}
		return out;
	}

	static List<TopicPartition> partitions(String topic, int count) {
		return IntStream.range(0, count).mapToObj(p -> new TopicPartition(topic, p)).collect(Collectors.toList());
	}

	static List<ConsumerRecord<String, byte[]>> all(String topic, int partitions, int count, Object... more) {
		try (KafkaConsumer<String, byte[]> c = consumer(null, more)) {
			c.assign(partitions(topic, partitions));
			c.seekToBeginning(c.assignment());
			List<ConsumerRecord<String, byte[]>> out = read(c, count);
			eq(c.poll(Duration.ofMillis(300)).count(), 0, "records too many");
			return out;
		}
	}

	static List<String> values(List<ConsumerRecord<String, byte[]>> records) {
		return records.stream().map(r -> new String(r.value())).collect(Collectors.toList());
	}

	static List<String> numbers(int from, int to) {
		return IntStream.range(from, to).mapToObj(i -> "v" + i).collect(Collectors.toList());
	}

	static void codec(String codec) throws Exception {
		String topic = create(codec, 1);
		String tail = "x".repeat(200);
		try (KafkaProducer<String, byte[]> p = producer("compression.type", codec, "linger.ms", 50)) {
			List<Future<RecordMetadata>> sent = new ArrayList<>();
			for (int i = 0; i < COUNT; i++)
				sent.add(p.send(new ProducerRecord<>(topic, 0, THEN + i, "k" + i, bytes(i + tail),
						List.of(new RecordHeader("a", bytes("1")), new RecordHeader("b", null)))));
			for (int i = 0; i < COUNT; i++)
				eq(sent.get(i).get().offset(), (long) i, "offset");
		}
		List<ConsumerRecord<String, byte[]>> got = all(topic, 1, COUNT);
		for (int i = 0; i < COUNT; i++) {
			ConsumerRecord<String, byte[]> r = got.get(i);
			eq(List.of(r.offset(), r.key(), new String(r.value()), r.timestamp(), r.timestampType(), r.headers().toArray().length),
			   List.of((long) i, "k" + i, i + tail, THEN + i, TimestampType.CREATE_TIME, 2), "record");
			eq(r.headers().lastHeader("b").value(), null, "null header");
		}
		ask("stored " + topic + " " + codec + " " + COUNT);
	}

	static void consumeFrom() throws Exception {
		String topic = create("from", 1);
		TopicPartition tp = new TopicPartition(topic, 0);
		try (KafkaProducer<String, byte[]> p = producer()) {
			for (int i = 0; i < 20; i++)
				p.send(new ProducerRecord<>(topic, 0, THEN + i * 1000, null, bytes("v" + i)));
		}
		try (KafkaConsumer<String, byte[]> c = consumer(null, "auto.offset.reset", "latest")) {
			c.assign(List.of(tp));
			eq(c.poll(Duration.ofMillis(500)).count(), 0, "records at the end");
			eq(c.position(tp), 20L, "position");
			eq(c.beginningOffsets(List.of(tp)).get(tp), 0L, "beginning");
			eq(c.endOffsets(List.of(tp)).get(tp), 20L, "end");
			long[] when = {0, 6500, 19000};
			long[] want = {0, 7, 19};
			for (int i = 0; i < when.length; i++)
				eq(c.offsetsForTimes(Map.of(tp, THEN + when[i])).get(tp).offset(), want[i], "offset for " + when[i]);
			eq(c.offsetsForTimes(Map.of(tp, THEN + 19001)).get(tp), null, "offset behind the last");
			send(topic, 1, "new");
			eq(values(read(c, 1)), List.of("new0"), "what is new");
			c.seek(tp, 7);
			eq(new String(read(c, 1).get(0).value()), "v7", "after a seek");
		}
	}

	static void group(String strategy) throws Exception {
		String what = "group-" + strategy.replaceAll(".*\\.", "");
		String topic = create(what, 4);
		try (KafkaProducer<String, byte[]> p = producer()) {
			for (int i = 0; i < 40; i++)
				p.send(new ProducerRecord<>(topic, i % 4, null, bytes("v" + i)));
		}
		KafkaConsumer<String, byte[]> a = consumer(what, "partition.assignment.strategy", strategy);
		KafkaConsumer<String, byte[]> b = consumer(what, "partition.assignment.strategy", strategy);
		a.subscribe(List.of(topic));
		eq(new TreeSet<>(values(read(a, 40))), new TreeSet<>(numbers(0, 40)), "values");
		a.commitSync();
		b.subscribe(List.of(topic));
		// A poll of the one may wait for the other: each in its thread.
		AtomicBoolean end = new AtomicBoolean();
		List<ConsumerRecord<String, byte[]>> again = Collections.synchronizedList(new ArrayList<>());
		ConcurrentMap<Integer, Set<TopicPartition>> share = new ConcurrentHashMap<>();
		Thread thread = new Thread(() -> {
			while (!end.get()) {
				a.poll(Duration.ofMillis(50)).forEach(again::add);
				share.put(0, Set.copyOf(a.assignment()));
			}
			a.close();
		});
		thread.start();
		until("two partitions each", 30, () -> {
			b.poll(Duration.ofMillis(50)).forEach(again::add);
			return b.assignment().size() == 2 && share.getOrDefault(0, Set.of()).size() == 2;
		});
		Set<TopicPartition> both = new HashSet<>(b.assignment());
		both.addAll(share.get(0));
		eq(both.size(), 4, "partitions of both");
		end.set(true);
		thread.join();
		until("all partitions for the one that is left", 30, () -> {
			b.poll(Duration.ofMillis(50)).forEach(again::add);
			return b.assignment().size() == 4;
		});
		eq(again.size(), 0, "records that came again");
		b.close();
	}

	static void staticMember() throws Exception {
		String topic = create("static", 2);
		send(topic, 4, "v");
		for (int i = 0; i < 2; i++) {
			KafkaConsumer<String, byte[]> c = consumer("static", "group.instance.id", "one");
			c.subscribe(List.of(topic));
			eq(read(c, i == 0 ? 4 : 0).size(), i == 0 ? 4 : 0, "records");
			until("assignment", 20, () -> {
				c.poll(Duration.ofMillis(50));
				return c.assignment().size() == 2;
			});
			if (i == 0)
				c.commitSync();
			eq(c.groupMetadata().groupInstanceId().get(), "one", "instance");
			if (i == 1) {
				KafkaConsumer<String, byte[]> d = consumer("static", "group.instance.id", "one");
				d.subscribe(List.of(topic));
				until("the place of the other", 20, () -> {
					d.poll(Duration.ofMillis(50));
					return d.assignment().size() == 2;
				});
				throwsA(FencedInstanceIdException.class, () -> {
					for (int j = 0; j < 100; j++) {
						c.poll(Duration.ofMillis(50));
						c.commitSync(Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(1)));
					}
				});
				d.close();
			}
			c.close();
		}
		admin.removeMembersFromConsumerGroup(name("static"), new RemoveMembersFromConsumerGroupOptions(
				Set.of(new MemberToRemove("one")))).all().get();
	}

	static void commit() throws Exception {
		String topic = create("commit", 1);
		TopicPartition tp = new TopicPartition(topic, 0);
		send(topic, 20, "v");
		try (KafkaConsumer<String, byte[]> c = consumer("commit")) {
			c.subscribe(List.of(topic));
			read(c, 20);
			c.commitSync(Map.of(tp, new OffsetAndMetadata(12, "note")));
			eq(c.committed(Set.of(tp)).get(tp).metadata(), "note", "metadata");
		}
		try (KafkaConsumer<String, byte[]> c = consumer("commit")) {
			c.subscribe(List.of(topic));
			eq(values(read(c, 8)), numbers(12, 20), "values");
			CountDownLatch done = new CountDownLatch(1);
			c.commitAsync((offsets, e) -> {
				if (e == null)
					done.countDown();
			});
			until("commitAsync", 10, () -> {
				c.poll(Duration.ofMillis(10));
				return done.getCount() == 0;
			});
		}
		eq(admin.listConsumerGroupOffsets(name("commit")).partitionsToOffsetAndMetadata().get().get(tp).offset(), 20L, "by admin");
	}

	static void overAStop(String how) throws Exception {
		String topic = create(how, 2);
		AtomicBoolean stop = new AtomicBoolean();
		List<Future<RecordMetadata>> sent = Collections.synchronizedList(new ArrayList<>());
		try (KafkaProducer<String, byte[]> p = producer("linger.ms", 2, "reconnect.backoff.max.ms", 200, "retry.backoff.max.ms", 200);
		     KafkaConsumer<String, byte[]> c = consumer(how, "session.timeout.ms", 30000, "reconnect.backoff.max.ms", 200)) {
			Thread feeder = new Thread(() -> {
				for (int i = 0; !stop.get(); i++) {
					sent.add(p.send(new ProducerRecord<>(topic, "k" + i, bytes("" + i))));
					try {
						Thread.sleep(2);
					} catch (InterruptedException e) {
						return;
					}
				}
			});
			feeder.start();
			c.subscribe(List.of(topic));
			List<ConsumerRecord<String, byte[]>> got = read(c, 100);
			c.commitSync();
			ask(how);
			Thread.sleep(500);
			stop.set(true);
			feeder.join();
			for (Future<RecordMetadata> f : sent)
				f.get();
			got.addAll(read(c, sent.size() - got.size()));
			eq(c.poll(Duration.ofMillis(300)).count(), 0, "records too many");
			eq(got.stream().map(r -> Integer.parseInt(new String(r.value()))).sorted().collect(Collectors.toList()),
			   IntStream.range(0, sent.size()).boxed().collect(Collectors.toList()), "values");
			c.commitSync();
		}
	}

	static void large() throws Exception {
		String topic = create("large", 1);
		byte[] value = new byte[900000];
		new Random(1).nextBytes(value);
		try (KafkaProducer<String, byte[]> p = producer("max.request.size", 2000000)) {
			for (int i = 0; i < 4; i++)
				p.send(new ProducerRecord<>(topic, value)).get();
		}
		for (String limit : List.of("1048576", "1000"))
			for (ConsumerRecord<String, byte[]> r : all(topic, 1, 4, "max.partition.fetch.bytes", limit))
				eq(Arrays.equals(r.value(), value), true, "value");
	}

	static void errors() throws Exception {
		String topic = create("errors", 1);
		try (KafkaProducer<String, byte[]> p = producer("max.request.size", 8000000)) {
			throwsA(RecordTooLargeException.class, () -> p.send(new ProducerRecord<>(topic, new byte[3000000])).get());
			eq(p.send(new ProducerRecord<>(topic, bytes("after"))).get().offset(), 0L, "the next one");
		}
		throwsA(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(name("no-such"))).all().get());
		throwsA(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(name("no-such"))).allTopicNames().get());
		throwsA(InvalidTopicException.class, () -> admin.createTopics(List.of(new NewTopic("a b", 1, (short) 1))).all().get());
		throwsA(TopicExistsException.class, () -> create("errors", 1));
		throwsA(InvalidReplicationFactorException.class,
			() -> admin.createTopics(List.of(new NewTopic(name("three"), 1, (short) 3))).all().get());
		throwsA(InvalidConfigurationException.class, () -> create("badconf", 1, "no.such.setting", "1"));
		try (KafkaConsumer<String, byte[]> c = consumer("out", "auto.offset.reset", "none")) {
			c.assign(partitions(topic, 1));
			c.seek(new TopicPartition(topic, 0), 1000);
			throwsA(org.apache.kafka.clients.consumer.OffsetOutOfRangeException.class, () -> c.poll(Duration.ofSeconds(10)));
		}
		try (KafkaConsumer<String, byte[]> c = consumer("stale", "max.poll.interval.ms", 1500)) {
			c.subscribe(List.of(topic));
			read(c, 1);
			Thread.sleep(2500);
			throwsA(CommitFailedException.class, c::commitSync);
		}
	}

	static void transactions() throws Exception {
		String topic = create("txn", 2);
		try (KafkaProducer<String, byte[]> p = producer("transactional.id", name("txn"))) {
			p.initTransactions();
			for (int i = 0; i < 4; i++) {
				p.beginTransaction();
				for (int j = 0; j < 10; j++)
					p.send(new ProducerRecord<>(topic, j % 2, null, bytes("" + i)));
				p.flush();
				if (i % 2 == 0)
					p.commitTransaction();
				else
					p.abortTransaction();
			}
		}
		Map<String, Long> by = values(all(topic, 2, 20, "isolation.level", "read_committed")).stream()
						.collect(Collectors.groupingBy(v -> v, Collectors.counting()));
		eq(by, Map.of("0", 10L, "2", 10L), "committed");
		all(topic, 2, 40);
	}

	static void openTransaction() throws Exception {
		String topic = create("open", 1);
		TopicPartition tp = new TopicPartition(topic, 0);
		try (KafkaProducer<String, byte[]> p = producer("transactional.id", name("open"));
		     KafkaConsumer<String, byte[]> c = consumer(null, "isolation.level", "read_committed")) {
			p.initTransactions();
			p.beginTransaction();
			p.send(new ProducerRecord<>(topic, bytes("in"))).get();
			send(topic, 1, "behind");
			c.assign(List.of(tp));
			eq(c.poll(Duration.ofMillis(1000)).count(), 0, "before the end");
			eq(c.endOffsets(List.of(tp)).get(tp), 0L, "last stable offset");
			DescribeProducersResult.PartitionProducerState state = admin.describeProducers(List.of(tp)).partitionResult(tp).get();
			eq(state.activeProducers().stream().filter(x -> x.currentTransactionStartOffset().isPresent()).count(), 1L, "active");
			eq(admin.listTransactions().all().get().stream().filter(t -> t.transactionalId().equals(name("open")))
				.map(t -> t.state().toString()).collect(Collectors.toList()), List.of("Ongoing"), "listed");
			eq(admin.describeTransactions(List.of(name("open"))).description(name("open")).get().topicPartitions(), Set.of(tp), "described");
			p.commitTransaction();
			eq(values(read(c, 2)), List.of("in", "behind0"), "after the end");
		}
	}

	static void etl() throws Exception {
		String source = create("etl-in", 1), target = create("etl-out", 1);
		TopicPartition tp = new TopicPartition(source, 0);
		send(source, 20, "v");
		try (KafkaProducer<String, byte[]> p = producer("transactional.id", name("etl"));
		     KafkaConsumer<String, byte[]> c = consumer("etl", "isolation.level", "read_committed")) {
			p.initTransactions();
			c.subscribe(List.of(source));
			List<ConsumerRecord<String, byte[]>> got = read(c, 20);
			for (boolean good : new boolean[] {false, true}) {
				p.beginTransaction();
				for (ConsumerRecord<String, byte[]> r : got)
					p.send(new ProducerRecord<>(target, r.value()));
				p.sendOffsetsToTransaction(Map.of(tp, new OffsetAndMetadata(20)), c.groupMetadata());
				if (good)
					p.commitTransaction();
				else
					p.abortTransaction();
				OffsetAndMetadata at = c.committed(Set.of(tp)).get(tp);
				eq(at == null ? -1L : at.offset(), good ? 20L : -1L, "offset");
			}
		}
		eq(values(all(target, 1, 20, "isolation.level", "read_committed")), numbers(0, 20), "values");
	}

	static void fenced() throws Exception {
		String topic = create("fence", 1);
		try (KafkaProducer<String, byte[]> a = producer("transactional.id", name("fence"));
		     KafkaProducer<String, byte[]> b = producer("transactional.id", name("fence"))) {
			a.initTransactions();
			a.beginTransaction();
			a.send(new ProducerRecord<>(topic, bytes("a"))).get();
			b.initTransactions();
			throwsA(KafkaException.class, a::commitTransaction);
			throwsA(ProducerFencedException.class, () -> {
				a.beginTransaction();
				a.send(new ProducerRecord<>(topic, bytes("a"))).get();
			});
			b.beginTransaction();
			b.send(new ProducerRecord<>(topic, bytes("b")));
			b.commitTransaction();
		}
		eq(values(all(topic, 1, 1, "isolation.level", "read_committed")), List.of("b"), "committed");
		try (KafkaProducer<String, byte[]> a = producer("transactional.id", name("fence2"))) {
			a.initTransactions();
			a.beginTransaction();
			admin.fenceProducers(List.of(name("fence2"))).all().get();
			throwsA(KafkaException.class, () -> {
				a.send(new ProducerRecord<>(topic, bytes("a"))).get();
				a.commitTransaction();
			});
		}
	}

	static void timeout() throws Exception {
		String topic = create("timeout", 1);
		try (KafkaProducer<String, byte[]> p = producer("transactional.id", name("timeout"), "transaction.timeout.ms", 1000)) {
			p.initTransactions();
			p.beginTransaction();
			p.send(new ProducerRecord<>(topic, bytes("in"))).get();
			send(topic, 1, "behind");
			// Kafka looks every ten seconds.
			eq(values(all(topic, 1, 1, "isolation.level", "read_committed")), List.of("behind0"), "after the timeout");
			throwsA(KafkaException.class, p::commitTransaction);
		}
	}

	static TopicDescription describe(String topic) {
		try {
			return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
		} catch (Exception e) {
			throw new RuntimeException(e);
		}
	}

	static void adminTopics() throws Exception {
		String topic = create("admin", 1, "retention.ms", "3600000", "cleanup.policy", "compact");
		ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, topic);
		Config c = admin.describeConfigs(List.of(r)).all().get().get(r);
		eq(c.get("retention.ms").value() + c.get("cleanup.policy").value(), "3600000compact", "settings");
		eq(c.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
		admin.incrementalAlterConfigs(Map.of(r, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "7200000"), AlterConfigOp.OpType.SET),
			new AlterConfigOp(new ConfigEntry("cleanup.policy", "delete"), AlterConfigOp.OpType.APPEND)))).all().get();
		Config d = admin.describeConfigs(List.of(r)).all().get().get(r);
		eq(d.get("retention.ms").value(), "7200000", "changed");
		eq(Set.of(d.get("cleanup.policy").value().split(",")), Set.of("compact", "delete"), "appended");
		admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
		until("three partitions", 10, () -> describe(topic).partitions().size() == 3);
		TopicDescription t = describe(topic);
		eq(t.topicId().equals(Uuid.ZERO_UUID), false, "no id");
		eq(admin.describeTopics(TopicCollection.ofTopicIds(List.of(t.topicId()))).allTopicIds().get().get(t.topicId()).name(), topic, "by id");
		eq(admin.listTopics().names().get().contains(topic), true, "listed");
		DescribeClusterResult cluster = admin.describeCluster();
		eq(cluster.nodes().get().size(), 1, "nodes");
		Node node = cluster.controller().get();
		eq(node.host() + ":" + node.port(), BOOTSTRAP, "controller");
		eq(cluster.clusterId().get().isEmpty(), false, "cluster id");
		ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "" + node.id());
		eq(admin.describeConfigs(List.of(broker)).all().get().get(broker).get("message.max.bytes") != null, true, "the broker's settings");
		admin.deleteTopics(List.of(topic)).all().get();
		until("no such topic", 10, () -> {
			try {
				return !admin.listTopics().names().get().contains(topic);
			} catch (Exception e) {
				return false;
			}
		});
	}

	static void deleteRecords() throws Exception {
		String topic = create("cut", 1);
		TopicPartition tp = new TopicPartition(topic, 0);
		send(topic, 20, "v");
		eq(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(5))).lowWatermarks().get(tp).get().lowWatermark(), 5L, "low watermark");
		eq(values(all(topic, 1, 15)), numbers(5, 20), "what is left");
		eq(admin.listOffsets(Map.of(tp, OffsetSpec.earliest())).partitionResult(tp).get().offset(), 5L, "earliest");
		eq(admin.listOffsets(Map.of(tp, OffsetSpec.latest())).partitionResult(tp).get().offset(), 20L, "latest");
		eq(admin.listOffsets(Map.of(tp, OffsetSpec.maxTimestamp())).partitionResult(tp).get().offset() >= 0, true, "max timestamp");
		throwsA(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(100))).all().get());
	}

	static void adminGroups() throws Exception {
		String topic = create("groups", 2);
		TopicPartition tp = new TopicPartition(topic, 0);
		String group = name("groups");
		send(topic, 10, "v");
		try (KafkaConsumer<String, byte[]> c = consumer("groups", "client.id", "me")) {
			c.subscribe(List.of(topic));
			read(c, 10);
			c.commitSync();
			ConsumerGroupDescription g = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
			eq(g.members().size(), 1, "members");
			eq(g.members().iterator().next().clientId(), "me", "client");
			eq(g.members().iterator().next().assignment().topicPartitions().size(), 2, "assignment");
			eq(g.partitionAssignor(), "range", "assignor");
			throwsA(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
			throwsA(GroupSubscribedToTopicException.class, () -> admin.deleteConsumerGroupOffsets(group, Set.of(tp)).all().get());
		}
		eq(admin.listConsumerGroups().all().get().stream().anyMatch(x -> x.groupId().equals(group)), true, "listed");
		admin.alterConsumerGroupOffsets(group, Map.of(tp, new OffsetAndMetadata(1))).all().get();
		eq(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(tp).offset(), 1L, "set");
		admin.deleteConsumerGroupOffsets(group, Set.of(tp)).all().get();
		eq(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(tp), null, "deleted");
		admin.deleteConsumerGroups(List.of(group)).all().get();
		throwsA(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
	}

	public static void main(String[] args) throws Exception {
		admin = Admin.create(Map.of("bootstrap.servers", BOOTSTRAP, "default.api.timeout.ms", 20000, "request.timeout.ms", 15000));
		for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd"))
			check("codec " + codec, () -> codec(codec));
		check("consume from beginning, end, timestamp", Clients::consumeFrom);
		check("group with two members and a rebalance, range", () -> group("org.apache.kafka.clients.consumer.RangeAssignor"));
		check("group with two members and a rebalance, cooperative", () -> group("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"));
		check("static member, and one that takes its place", Clients::staticMember);
		check("commit, and go on from there", Clients::commit);
		check("restart of the server in the middle", () -> overAStop("restart"));
		check("kill of the server in the middle", () -> overAStop("kill"));
		check("large messages", Clients::large);
		check("errors", Clients::errors);
		check("transactions, committed and aborted", Clients::transactions);
		check("an open transaction holds read_committed back", Clients::openTransaction);
		check("transaction that reads, works and writes", Clients::etl);
		check("error, fenced by a newer producer", Clients::fenced);
		check("a transaction that takes too long is aborted", Clients::timeout);
		check("admin, topics and their settings", Clients::adminTopics);
		check("admin, records deleted and offsets listed", Clients::deleteRecords);
		check("admin, groups", Clients::adminGroups);
		System.exit(0);
	}
}
