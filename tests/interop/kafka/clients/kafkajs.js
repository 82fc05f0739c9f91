// SPDX-License-Identifier: Apache-2.0
'use strict';
// kafkajs. It brings gzip only; the other codecs are small packages in JavaScript.
const readline = require('readline');
const crypto = require('crypto');
const { Kafka, logLevel, CompressionTypes, CompressionCodecs, ConfigResourceTypes } = require('kafkajs');
const snappy = require('snappyjs');
const lz4 = require('lz4js');
const xxh32 = require('lz4js/xxh32.js');

const { BOOTSTRAP, PREFIX } = process.env;
const WORD = process.env.CHECKS || '';
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
// An hour ago: what is older than its retention goes any moment.
const THEN = Date.now() - 3600000;
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const name = (what) => PREFIX + '-' + what;

async function ask(words) {
	console.log('@' + words);
	const answer = (await lines.next()).value;
	if (answer !== 'yes')
		throw new Error(words + ': ' + answer);
}

function eq(got, want, what = 'got') {
	const a = JSON.stringify(got), b = JSON.stringify(want);
	if (a !== b)
		throw new Error(`${what}: got ${a}, want ${b}`);
}

async function until(what, holds, seconds = 30) {
	const end = Date.now() + seconds * 1000;
	while (!(await holds())) {
		if (Date.now() > end)
			throw new Error(`waited ${seconds} s for: ${what}`);
		await sleep(20);
	}
}

async function rejects(type, promise) {
	try {
		await promise;
	} catch (e) {
		for (let x = e; x; x = x.cause || x.originalError)
			if (x.type === type || (x.errors || []).some((y) => y.type === type))
				return;
		throw new Error(`failed with ${e.type || e} rather than ${type}`);
	}
	throw new Error('there was no ' + type);
}

// As Java frames snappy (xerial): a head, then blocks with their lengths.
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
CompressionCodecs[CompressionTypes.Snappy] = () => ({
	compress: async (e) => {
		const block = Buffer.from(snappy.compress(e.buffer)), length = Buffer.alloc(4);
		length.writeInt32BE(block.length);
		return Buffer.concat([XERIAL, length, block]);
	},
	decompress: async (b) => {
		if (b.compare(XERIAL, 0, 8, 0, 8) !== 0)
			return Buffer.from(snappy.uncompress(b));
		const out = [];
		for (let at = 16; at < b.length;) {
			const length = b.readInt32BE(at);
			out.push(Buffer.from(snappy.uncompress(b.subarray(at + 4, at + 4 + length))));
			at += 4 + length;
		}
		return Buffer.concat(out);
	},
});
CompressionCodecs[CompressionTypes.LZ4] = () => ({
	compress: async (e) => {
		const frame = Buffer.from(lz4.compress(e.buffer));
		frame[4] |= 0x20; // blocks stand alone, which Kafka wants said, and so it is here
		frame[6] = xxh32.hash(0, frame, 4, 2) >> 8;
		return frame;
	},
	decompress: async (b) => Buffer.from(lz4.decompress(b)),
});
const zstd = new Promise((r) => require('zstd-codec').ZstdCodec.run((z) => r(new z.Streaming())));
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
	compress: async (e) => Buffer.from((await zstd).compress(e.buffer)),
	decompress: async (b) => Buffer.from((await zstd).decompress(b)),
});

const kafka = new Kafka({ clientId: 'interop', brokers: [BOOTSTRAP], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 60 } });
const admin = kafka.admin();

async function create(what, numPartitions = 1, configEntries = []) {
	await admin.createTopics({ topics: [{ topic: name(what), numPartitions, replicationFactor: 1, configEntries }] });
	return name(what);
}

async function producing(options, body) {
	const p = kafka.producer(options);
	await p.connect();
	try {
		return await body(p);
	} finally {
		await p.disconnect();
	}
}

const send = (topic, values, more = {}) =>
	producing({}, (p) => p.send({ topic, messages: values.map((value, i) => ({ value, partition: more.partitions ? i % more.partitions : undefined })), ...more }));

class Member {
	constructor(topic, groupId, more = {}) {
		this.seen = [];
		this.share = 0;
		this.consumer = kafka.consumer({ groupId: name(groupId), sessionTimeout: 10000, heartbeatInterval: 300, maxWaitTimeInMs: 200,
			rebalanceTimeout: 10000, metadataMaxAge: 1000, ...more });
		this.consumer.on('consumer.group_join', (e) => { this.share = (e.payload.memberAssignment[topic] || []).length; });
		this.topic = topic;
	}

	async start(fromBeginning = true) {
		await this.consumer.connect();
		await this.consumer.subscribe({ topic: this.topic, fromBeginning });
		await this.consumer.run({ autoCommitThreshold: 1, eachMessage: async ({ partition, message }) => { this.seen.push({ partition, ...message }); } });
		return this;
	}

	values() {
		return this.seen.map((m) => m.value.toString());
	}

	stop() {
		return this.consumer.disconnect();
	}
}

let readers = 0;
async function all(topic, count, more = {}) {
	const m = await new Member(topic, 'all' + readers++, more).start();
	await until(`${count} records`, () => m.seen.length >= count);
	await sleep(300);
	await m.stop();
	eq(m.seen.length, count, 'records');
	return m.seen;
}

const checks = {};
const types = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD };
for (const codec of Object.keys(types))
	checks['codec ' + codec] = async () => {
		const topic = await create(codec);
		const messages = [...Array(300).keys()].map((i) => ({ key: 'k' + i, value: 'x'.repeat(200), headers: { a: '1' }, timestamp: String(THEN + i) }));
		await producing({}, (p) => p.send({ topic, compression: types[codec], messages }));
		(await all(topic, 300)).forEach((m, i) =>
			eq([m.offset, m.key.toString(), m.value.length, m.headers.a.toString(), m.timestamp], [String(i), 'k' + i, 200, '1', String(THEN + i)], 'record'));
		await ask(`stored ${topic} ${codec} 300`);
	};

checks['acks 0 and 1'] = async () => {
	const topic = await create('acks');
	await send(topic, ['a'], { acks: 0 });
	await send(topic, ['b'], { acks: 1 });
	await all(topic, 2);
};

checks['consume from beginning, end, timestamp'] = async () => {
	const topic = await create('from');
	await producing({}, (p) => p.send({ topic, messages: [...Array(20).keys()].map((i) => ({ value: String(i), timestamp: String(THEN + i * 1000) })) }));
	eq((await admin.fetchTopicOffsets(topic)).map((o) => [o.low, o.high]), [['0', '20']], 'offsets');
	eq((await admin.fetchTopicOffsetsByTimestamp(topic, THEN + 6500))[0].offset, '7', 'by timestamp');
	const m = await new Member(topic, 'from').start(false);
	await until('the assignment', () => m.share === 1);
	await sleep(500);
	eq(m.seen.length, 0, 'records at the end');
	await send(topic, ['new']);
	await until('what is new', () => m.seen.length === 1);
	eq(m.values(), ['new']);
	m.consumer.seek({ topic, partition: 0, offset: '7' });
	await until('what follows the seek', () => m.seen.length > 1);
	eq(m.values()[1], '7');
	await m.stop();
};

checks['group with two members and a rebalance'] = async () => {
	const topic = await create('group', 4);
	await send(topic, [...Array(40).keys()].map(String), { partitions: 4 });
	const a = await new Member(topic, 'group').start();
	await until('all for the first', () => new Set(a.values()).size === 40);
	const b = await new Member(topic, 'group').start();
	await until('two partitions each', () => a.share === 2 && b.share === 2);
	await a.stop();
	await until('all partitions for the one that is left', () => b.share === 4);
	await send(topic, [...Array(8).keys()].map((i) => 'more' + i), { partitions: 4 });
	await until('what came later', () => new Set(b.values().filter((v) => v.startsWith('more'))).size === 8);
	await b.stop();
};

checks['commit, and go on from there'] = async () => {
	const topic = await create('commit');
	await send(topic, [...Array(20).keys()].map(String));
	await admin.setOffsets({ groupId: name('commit'), topic, partitions: [{ partition: 0, offset: '12' }] });
	eq((await admin.fetchOffsets({ groupId: name('commit'), topics: [topic] }))[0].partitions[0].offset, '12', 'committed');
	const m = await new Member(topic, 'commit').start();
	await until('the rest', () => m.seen.length === 8);
	eq(m.values()[0], '12');
	await m.consumer.commitOffsets([{ topic, partition: 0, offset: '20', metadata: 'note' }]);
	await m.stop();
	const at = (await admin.fetchOffsets({ groupId: name('commit'), topics: [topic] }))[0].partitions[0];
	eq([at.offset, at.metadata], ['20', 'note']);
};

for (const how of ['restart', 'kill'])
	checks[how + ' of the server in the middle'] = async () => {
		const topic = await create(how, 2);
		const m = await new Member(topic, how, { sessionTimeout: 30000 }).start();
		await producing({ idempotent: true, maxInFlightRequests: 1 }, async (p) => {
			let count = 0, stop = false;
			const feed = (async () => {
				for (; !stop; count++)
					// With a key: without one kafkajs gives a retry another partition, and the sequence that the first
					// try used up is then that of the next record, which every broker takes for a repeat.
					await p.send({ topic, acks: -1, messages: [{ key: 'k' + count % 8, value: String(count) }] });
			})();
			await until('the first', () => m.seen.length > 50);
			await ask(how);
			await sleep(500);
			stop = true;
			await feed;
			await until('all records', () => new Set(m.values()).size === count, 40);
			await m.stop();
			await all(topic, count);
		});
	};

checks['large messages'] = async () => {
	const topic = await create('large');
	const value = crypto.randomBytes(900000);
	for (let i = 0; i < 3; i++)
		await send(topic, [value]);
	for (const m of await all(topic, 3, { maxBytesPerPartition: 1000 }))
		eq(m.value.equals(value), true);
};

checks['error, message too large'] = async () => {
	const topic = await create('toolarge');
	await rejects('MESSAGE_TOO_LARGE', send(topic, ['x'.repeat(3000000)]));
};

checks['error, unknown topic'] = async () => {
	await rejects('UNKNOWN_TOPIC_OR_PARTITION', kafka.admin({ retry: { retries: 0 } }).fetchTopicMetadata({ topics: [name('no-such')] }));
	const quick = kafka.producer({ allowAutoTopicCreation: false, retry: { retries: 1 } });
	await quick.connect();
	await rejects('UNKNOWN_TOPIC_OR_PARTITION', quick.send({ topic: name('no-such'), messages: [{ value: 'x' }] }));
	await quick.disconnect();
	await send(name('by-itself'), ['x']);
	await all(name('by-itself'), 1);
};

checks['transactions, committed and aborted'] = async () => {
	const topic = await create('txn');
	await producing({ transactionalId: name('txn'), idempotent: true, maxInFlightRequests: 1 }, async (p) => {
		for (let i = 0; i < 4; i++) {
			const t = await p.transaction();
			await t.send({ topic, messages: [...Array(5)].map(() => ({ value: String(i) })) });
			await t.sendOffsets({ consumerGroupId: name('txn'), topics: [{ topic, partitions: [{ partition: 0, offset: String(i) }] }] });
			await (i % 2 ? t.abort() : t.commit());
		}
	});
	const by = {};
	for (const m of await all(topic, 10))
		by[m.value] = (by[m.value] || 0) + 1;
	eq(by, { 0: 5, 2: 5 });
	await all(topic, 20, { readUncommitted: true });
	eq((await admin.fetchOffsets({ groupId: name('txn'), topics: [topic] }))[0].partitions[0].offset, '2', 'offset');
};

checks['error, fenced by a newer producer'] = async () => {
	const topic = await create('fence');
	const options = { transactionalId: name('fence'), idempotent: true, maxInFlightRequests: 1, retry: { retries: 5 } };
	await producing(options, async (a) => {
		const t = await a.transaction();
		await t.send({ topic, messages: [{ value: 'a' }] });
		await producing(options, async (b) => {
			const u = await b.transaction();
			let fenced = false;
			try {
				await t.commit();
			} catch (e) {
				fenced = /PRODUCER_EPOCH|FENCED/.test(e.type + JSON.stringify(e) + (e.cause && e.cause.type));
			}
			eq(fenced, true, 'fenced');
			await u.send({ topic, messages: [{ value: 'b' }] });
			await u.commit();
		});
	});
	eq((await all(topic, 1))[0].value.toString(), 'b');
};

checks['admin'] = async () => {
	const topic = await create('admin', 1, [{ name: 'retention.ms', value: '3600000' }]);
	eq(await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }), false, 'twice');
	const setting = async () => (await admin.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: ['retention.ms'] }] }))
		.resources[0].configEntries[0].configValue;
	eq(await setting(), '3600000');
	await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '7200000' }] }] });
	await until('the change', async () => (await setting()) === '7200000', 10);
	await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
	await until('three partitions', async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3, 10);
	const m = await new Member(topic, 'admin').start();
	await until('the group', () => m.share === 3);
	const { groups } = await admin.describeGroups([name('admin')]);
	eq([groups[0].state, groups[0].members.length], ['Stable', 1]);
	await m.stop();
	eq((await admin.listGroups()).groups.some((g) => g.groupId === name('admin')), true, 'listed');
	await admin.deleteGroups([name('admin')]);
	await send(topic, ['x', 'y', 'z'], { partitions: 3 });
	const fresh = kafka.admin(); // the other one has lost its broker with a restart and looks for it only when asked for metadata
	await fresh.connect();
	await fresh.fetchTopicOffsets(topic);
	await fresh.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] });
	await fresh.disconnect();
	eq((await admin.describeCluster()).brokers.length, 1, 'brokers');
	await admin.deleteTopics({ topics: [topic] });
};

(async () => {
	await admin.connect();
	for (const [title, body] of Object.entries(checks)) {
		if (!title.includes(WORD))
			continue;
		try {
			await body();
			console.log('ok ' + title);
		} catch (e) {
			console.log(JSON.stringify(e));
			console.log(e.stack || e);
			console.log(`FAIL ${title}: ${String(e.message).replace(/\s+/g, ' ')}`);
		}
	}
	process.exit(0);
})();
