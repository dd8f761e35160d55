package dev.millstream.flink;

import java.io.Serializable;
import java.math.BigDecimal;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.arrow.vector.types.DateUnit;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.arrow.vector.types.pojo.Schema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.RowTypeInfo;
import org.apache.flink.types.Row;

/** The columns of rows: as Flink has them, and as Arrow does. */
final class Columns implements Serializable {
    /** A type of values. */
    enum Kind {
        BOOL(Types.BOOLEAN),
        BYTE(Types.BYTE),
        SHORT(Types.SHORT),
        INT(Types.INT),
        LONG(Types.LONG),
        FLOAT(Types.FLOAT),
        DOUBLE(Types.DOUBLE),
        TEXT(Types.STRING),
        BINARY(Types.PRIMITIVE_ARRAY(Types.BYTE)),
        INSTANT(Types.INSTANT),
        LOCAL_DATE_TIME(Types.LOCAL_DATE_TIME),
        DATE(Types.LOCAL_DATE),
        DECIMAL(Types.BIG_DEC);

        final TypeInformation<?> type;

        Kind(TypeInformation<?> type) {
            this.type = type;
        }
    }

    final String[] names;
    final Kind[] kinds;
    /** Of decimals: digits, and those behind the point. */
    private final int[] precisions;

    private final int[] scales;

    private Columns(String[] names, Kind[] kinds, int[] precisions, int[] scales) {
        this.names = names;
        this.kinds = kinds;
        this.precisions = precisions;
        this.scales = scales;
    }

    /** Those of rows of a stream. */
    static Columns of(TypeInformation<Row> type) {
        if (!(type instanceof RowTypeInfo)) {
            throw new IllegalArgumentException(
                    "the rows of the stream have no named columns; say which they are, by `.returns(Types.ROW_NAMED(…))`");
        }
        RowTypeInfo row = (RowTypeInfo) type;
        String[] names = row.getFieldNames();
        Kind[] kinds = new Kind[names.length];
        for (int column = 0; column < names.length; column++) {
            TypeInformation<?> own = row.getTypeAt(column);
            int at = column;
            kinds[column] = Arrays.stream(Kind.values())
                    .filter(kind -> kind.type.equals(own) && kind != Kind.DECIMAL)
                    .findFirst()
                    .orElseThrow(() -> new IllegalArgumentException(
                            "column `" + names[at] + "` is " + own + ", which plugins cannot be given; leave it out, or make it text"));
        }
        return new Columns(names, kinds, new int[names.length], new int[names.length]);
    }

    /** Those of a table of Arrow. */
    static Columns of(Schema schema) {
        List<Field> fields = schema.getFields();
        int count = fields.size();
        Columns made = new Columns(new String[count], new Kind[count], new int[count], new int[count]);
        for (int column = 0; column < count; column++) {
            Field field = fields.get(column);
            made.names[column] = field.getName();
            made.kinds[column] = kindOf(field);
            if (field.getType() instanceof ArrowType.Decimal decimal) {
                made.precisions[column] = decimal.getPrecision();
                made.scales[column] = decimal.getScale();
            }
        }
        return made;
    }

    private static Kind kindOf(Field field) {
        ArrowType type = field.getType();
        if (type instanceof ArrowType.Bool) {
            return Kind.BOOL;
        } else if (type instanceof ArrowType.Int whole && whole.getBitWidth() == 64 && whole.getIsSigned()) {
            return Kind.LONG;
        } else if (type instanceof ArrowType.FloatingPoint point && point.getPrecision() == FloatingPointPrecision.DOUBLE) {
            return Kind.DOUBLE;
        } else if (type instanceof ArrowType.Utf8) {
            return Kind.TEXT;
        } else if (type instanceof ArrowType.Binary) {
            return Kind.BINARY;
        } else if (type instanceof ArrowType.Timestamp time && time.getUnit() == TimeUnit.MICROSECOND) {
            return Kind.INSTANT;
        } else if (type instanceof ArrowType.Date date && date.getUnit() == DateUnit.DAY) {
            return Kind.DATE;
        } else if (type instanceof ArrowType.Decimal decimal && decimal.getBitWidth() == 128) {
            return Kind.DECIMAL;
        }
        throw new IllegalArgumentException(
                "column `" + field.getName() + "` is " + type + ", for which rows of Flink have no type here; let the plugin put out text");
    }

    /** The columns of these names. */
    Columns project(List<String> wanted, String who) {
        int[] places = places(wanted, who);
        return new Columns(
                Arrays.stream(places).mapToObj(place -> names[place]).toArray(String[]::new),
                Arrays.stream(places).mapToObj(place -> kinds[place]).toArray(Kind[]::new),
                Arrays.stream(places).map(place -> precisions[place]).toArray(),
                Arrays.stream(places).map(place -> scales[place]).toArray());
    }

    int[] places(List<String> wanted, String who) {
        return wanted.stream()
                .mapToInt(name -> {
                    int place = Arrays.asList(names).indexOf(name);
                    if (place < 0) {
                        throw new IllegalArgumentException(
                                who + " names a column `" + name + "`, which the rows do not have; they have: " + String.join(", ", names));
                    }
                    return place;
                })
                .toArray();
    }

    /** These columns and another one behind them. */
    Columns and(String name, Kind kind) {
        int count = names.length;
        Columns more = new Columns(
                Arrays.copyOf(names, count + 1), Arrays.copyOf(kinds, count + 1), Arrays.copyOf(precisions, count + 1), Arrays.copyOf(scales, count + 1));
        more.names[count] = name;
        more.kinds[count] = kind;
        return more;
    }

    int count() {
        return names.length;
    }

    /** As Flink has them. */
    RowTypeInfo type() {
        TypeInformation<?>[] types = Arrays.stream(kinds).map(kind -> kind.type).toArray(TypeInformation<?>[]::new);
        return new RowTypeInfo(types, names);
    }

    /** As Arrow has them: numbers of all sizes as those of the plugins. */
    Schema schema() {
        List<Field> fields = new ArrayList<>();
        for (int column = 0; column < names.length; column++) {
            ArrowType type =
                    switch (kinds[column]) {
                        case BOOL -> new ArrowType.Bool();
                        case BYTE, SHORT, INT, LONG -> new ArrowType.Int(64, true);
                        case FLOAT, DOUBLE -> new ArrowType.FloatingPoint(FloatingPointPrecision.DOUBLE);
                        case TEXT -> new ArrowType.Utf8();
                        case BINARY -> new ArrowType.Binary();
                        case INSTANT, LOCAL_DATE_TIME -> new ArrowType.Timestamp(TimeUnit.MICROSECOND, "UTC");
                        case DATE -> new ArrowType.Date(DateUnit.DAY);
                        case DECIMAL -> new ArrowType.Decimal(precisions[column], scales[column], 128);
                    };
            fields.add(new Field(names[column], FieldType.nullable(type), null));
        }
        return new Schema(fields);
    }

    /** The scale of a column of decimals. */
    BigDecimal scaled(int column, BigDecimal value) {
        return value.setScale(scales[column]);
    }

    static long microseconds(Instant time) {
        long seconds = time.getEpochSecond();
        long within = time.getNano() / 1000;
        // The earliest times of all fit only when they are put together from above.
        return seconds < 0
                ? Math.addExact(Math.multiplyExact(seconds + 1, 1_000_000L), within - 1_000_000L)
                : Math.addExact(Math.multiplyExact(seconds, 1_000_000L), within);
    }

    static Instant instant(long microseconds) {
        return Instant.ofEpochSecond(Math.floorDiv(microseconds, 1_000_000L), Math.floorMod(microseconds, 1_000_000L) * 1000);
    }
}
