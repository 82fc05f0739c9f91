// SPDX-License-Identifier: Apache-2.0
/*
 * Prints src/proto/kafka/kafka_vectors.def: requests and responses, header and
 * body, as Apache Kafka's own generated classes write them, in every version that
 * kafka_api.def names. Run by tests/kafka/vectors; nothing of Kafka is in what it
 * prints but the bytes.
 *
 * What the fields hold follows from their names, so that kafka_vectors_test.c can
 * make the same message. S is the sum of the bytes of a field's name in snake case
 * plus the index of the item of the innermost list that it is in:
 *
 *   FULL   numbers S times a prime, cut to their width; texts, bytes and records
 *          the name and the index; lists and arrays of two; all tags present
 *   BARE   null where it is allowed, else 0, false and empty; no tags
 */
import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.AbstractCollection;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.utils.AppInfoParser;

public class Vectors {
    static final int CORRELATION = 0x01020304;

    static long sum(String name, int index) {
        long s = index;
        for (byte b : name.getBytes(StandardCharsets.US_ASCII))
            s += b;
        return s;
    }

    static String camel(String snake) {
        Matcher m = Pattern.compile("_([a-z0-9])").matcher(snake);
        return m.replaceAll(r -> r.group(1).toUpperCase());
    }

    static Field fieldOf(Class<?> type, String name) throws Exception {
        return type.getDeclaredField(camel(name));
    }

    static void set(Object to, Field field, Object value) throws Exception {
        String name = field.getName();
        String setter = "set" + Character.toUpperCase(name.charAt(0)) + name.substring(1);
        for (Method m : to.getClass().getMethods())
            if (m.getName().equals(setter) && m.getParameterCount() == 1) {
                m.invoke(to, value);
                return;
            }
        throw new IllegalStateException(to.getClass() + " has no " + setter);
    }

    static Object scalar(Class<?> type, String name, int index, boolean full) {
        long s = full ? sum(name, index) : 0;
        byte[] text = full ? (name + index).getBytes(StandardCharsets.US_ASCII) : new byte[0];
        if (type == boolean.class || type == Boolean.class)
            return (s & 1) == 1;
        if (type == byte.class || type == Byte.class)
            return (byte) (s % 127);
        if (type == short.class || type == Short.class)
            return (short) (s * 3 % 32767);
        if (type == int.class || type == Integer.class)
            return (int) (s * 1000003 % 2147483647);
        if (type == long.class || type == Long.class)
            return s * 1000000007L;
        if (type == String.class)
            return new String(text, StandardCharsets.US_ASCII);
        if (type == byte[].class)
            return text;
        if (type == Uuid.class)
            return new Uuid(s * 1000000007L, s);
        if (type.getSimpleName().equals("BaseRecords"))
            return MemoryRecords.readableRecords(ByteBuffer.wrap(text));
        throw new IllegalStateException(name + ": " + type);
    }

    /* What a list is a list of. */
    static Class<?> itemOf(Field field) throws Exception {
        if (field.getGenericType() instanceof ParameterizedType p)
            return (Class<?>) p.getActualTypeArguments()[0];
        ParameterizedType p = (ParameterizedType) field.getType().getGenericSuperclass();
        return (Class<?>) p.getActualTypeArguments()[0];
    }

    static Object items(Field field, Type of, boolean full) throws Exception {
        @SuppressWarnings("unchecked")
        Collection<Object> list = field.getType() == List.class ? new ArrayList<>()
            : (Collection<Object>) field.getType().getConstructor().newInstance();
        Class<?> item = itemOf(field);
        String name = field.getName().replaceAll("([A-Z])", "_$1").toLowerCase();
        for (int i = 0; full && i < 2; i++)
            list.add(of instanceof Schema s ? struct(item, s, i, true) : scalar(item, name, i, true));
        return list;
    }

    static Object value(Field field, String name, Type type, int index, boolean full) throws Exception {
        if (!full && type.isNullable())
            return null;
        if (type.isArray())
            return items(field, type.arrayElementType().get(), full);
        if (type instanceof Schema s)
            return struct(field.getType(), s, index, full);
        return scalar(field.getType(), name, index, full);
    }

    static Object struct(Class<?> type, Schema schema, int index, boolean full) throws Exception {
        Object o = type.getConstructor().newInstance();
        for (BoundField f : schema.fields()) {
            if (f.def.type instanceof TaggedFields tags) {
                for (var tagged : tags.fields().values())
                    if (full) {
                        Field field = fieldOf(type, tagged.name);
                        set(o, field, value(field, tagged.name, tagged.type, index, true));
                    }
            } else {
                Field field = fieldOf(type, f.def.name);
                set(o, field, value(field, f.def.name, f.def.type, index, full));
            }
        }
        return o;
    }

    static byte[] bytes(Message m, short version) {
        ByteBuffer b = MessageUtil.toByteBufferAccessor(m, version).buffer();
        byte[] to = new byte[b.remaining()];
        b.get(to);
        return to;
    }

    static byte[] header(ApiKeys api, short version, boolean request, boolean full) {
        if (!request)
            return bytes(new ResponseHeaderData().setCorrelationId(CORRELATION), api.responseHeaderVersion(version));
        RequestHeaderData h = new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(version)
            .setCorrelationId(CORRELATION).setClientId(full ? "client" : null);
        return bytes(h, api.requestHeaderVersion(version));
    }

    static void print(ApiKeys api, String name, short version, boolean request, boolean full) throws Exception {
        Class<?> type = Class.forName("org.apache.kafka.common.message." + name + (request ? "Request" : "Response") + "Data");
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        ApiMessage body = (ApiMessage) struct(type, schemas[version], 0, full);
        HexFormat hex = HexFormat.of();
        System.out.printf("VECTOR(%d, %d, %s, %s, \"%s%s\")%n", api.id, version, request ? "REQUEST" : "RESPONSE",
            full ? "FULL" : "BARE", hex.formatHex(header(api, version, request, full)), hex.formatHex(bytes(body, version)));
    }

    public static void main(String[] args) throws Exception {
        Pattern row = Pattern.compile("^API\\(\\w+, (\\d+), (\\w+), \\w+, \\d+, (\\d+), (\\d+), \\w+\\)$", Pattern.MULTILINE);
        Matcher m = row.matcher(Files.readString(Path.of(args[0])));
        System.out.println("/* SPDX-License-Identifier: Apache-2.0 */");
        System.out.println("/* Made by tests/kafka/vectors with Apache Kafka " + AppInfoParser.getVersion()
            + "; tests/kafka/Vectors.java says what is in them. */");
        while (m.find()) {
            ApiKeys api = ApiKeys.forId(Integer.parseInt(m.group(1)));
            for (short v = Short.parseShort(m.group(3)); v <= Short.parseShort(m.group(4)); v++)
                for (int i = 0; i < 4; i++)
                    print(api, m.group(2), v, i < 2, i % 2 == 0);
        }
    }
}
