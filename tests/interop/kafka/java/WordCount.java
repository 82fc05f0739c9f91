// SPDX-License-Identifier: Apache-2.0
import java.io.File;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;

/** Kafka Streams: the word count of its documentation, exactly once, also when the server restarts in the middle. */
public class WordCount extends Checks {
	static Map<String, Object> config(Object... more) {
		Map<String, Object> c = new HashMap<>();
		c.put("bootstrap.servers", BOOTSTRAP);
		for (int i = 0; i < more.length; i += 2)
			c.put((String) more[i], more[i + 1]);
		return c;
	}

	static KafkaStreams start(String source, String target) {
		StreamsBuilder builder = new StreamsBuilder();
		builder.stream(source, Consumed.with(Serdes.String(), Serdes.String()))
			.flatMapValues(line -> Arrays.asList(line.split(" ")))
			.groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
			.count(Materialized.as("counts"))
			.toStream()
			.to(target, Produced.with(Serdes.String(), Serdes.Long()));
		Properties p = new Properties();
		p.putAll(config("application.id", name("app"), "processing.guarantee", "exactly_once_v2", "commit.interval.ms", 100,
			"state.dir", System.getenv("SCRATCH") + File.separator + "streams", "num.stream.threads", 1, "replication.factor", 1,
			"auto.offset.reset", "earliest", "session.timeout.ms", 10000, "statestore.cache.max.bytes", 0,
			"producer.reconnect.backoff.max.ms", 200, "consumer.reconnect.backoff.max.ms", 200));
		KafkaStreams streams = new KafkaStreams(builder.build(), p);
		streams.setUncaughtExceptionHandler(e -> {
			System.out.println("streams: " + e);
			return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.REPLACE_THREAD;
		});
		streams.start();
		return streams;
	}

	static void feed(String source, int from, int to) {
		try (KafkaProducer<String, String> p = new KafkaProducer<>(config(), new StringSerializer(), new StringSerializer())) {
			for (int i = from; i < to; i++)
				p.send(new ProducerRecord<>(source, "k" + i, "all w" + i % 10 + " w" + i % 7));
		}
	}

	/** Each word's counts in order must be 1, 2, 3 ...: nothing lost, nothing counted twice. */
	static void expect(KafkaConsumer<String, Long> c, Map<String, Long> counts, long all) {
		long end = System.nanoTime() + 60_000_000_000L;
		while (counts.values().stream().mapToLong(x -> x).sum() < all * 3) {
			for (ConsumerRecord<String, Long> r : c.poll(Duration.ofMillis(200))) {
				eq(r.value(), counts.getOrDefault(r.key(), 0L) + 1, "the next count of " + r.key());
				counts.put(r.key(), r.value());
			}
			if (System.nanoTime() > end)
				throw new AssertionError("counted " + counts + " of " + all + " lines");
		}
		eq(counts.get("all"), all, "lines");
	}

	public static void main(String[] args) throws Exception {
		String source = name("lines"), target = name("counts");
		try (Admin admin = Admin.create(config())) {
			admin.createTopics(List.of(new NewTopic(source, 2, (short) 1), new NewTopic(target, 1, (short) 1))).all().get();
		}
		Map<String, Long> counts = new HashMap<>();
		KafkaConsumer<String, Long> c = new KafkaConsumer<>(config("isolation.level", "read_committed", "auto.offset.reset", "earliest",
			"group.id", name("reader"), "reconnect.backoff.max.ms", 200), new StringDeserializer(), new LongDeserializer());
		c.subscribe(List.of(target));
		KafkaStreams[] streams = {start(source, target)};
		check("word count, exactly once", () -> {
			feed(source, 0, 100);
			expect(c, counts, 100);
		});
		check("word count, over a restart of the server", () -> {
			feed(source, 100, 200);
			ask("restart");
			feed(source, 200, 300);
			expect(c, counts, 300);
		});
		check("word count, over a restart of its own with its state gone", () -> {
			eq(streams[0].close(Duration.ofSeconds(20)), true, "closed");
			streams[0].cleanUp();
			streams[0] = start(source, target);
			feed(source, 300, 350);
			expect(c, counts, 350);
		});
		streams[0].close(Duration.ofSeconds(10));
		System.exit(0);
	}
}
