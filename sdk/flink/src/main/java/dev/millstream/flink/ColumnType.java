package dev.millstream.flink;

import java.io.Serializable;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.arrow.vector.types.DateUnit;
import org.apache.arrow.vector.types.FloatingPointPrecision;
import org.apache.arrow.vector.types.TimeUnit;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.flink.api.common.typeinfo.BasicArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.typeutils.ListTypeInfo;
import org.apache.flink.api.java.typeutils.ObjectArrayTypeInfo;
import org.apache.flink.api.java.typeutils.RowTypeInfo;

/** Type of a column, or of a value in a list or a struct, in Flink and in Arrow. */
final class ColumnType implements Serializable {
    /** Kind of values. */
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
        DECIMAL(Types.BIG_DEC),
        /** A Flink array. Flink lists are accepted, too, but cannot have nulls of all types. */
        LIST(null),
        /** A nested row. */
        STRUCT(null);

        /** The Flink type, if all columns of the kind have the same. */
        final TypeInformation<?> type;

        Kind(TypeInformation<?> type) {
            this.type = type;
        }
    }

    /** Precision and scale of a decimal. */
    record Digits(int precision, int scale) implements Serializable {}

    final Kind kind;
    private final Digits digits;
    /** Types of nested values: the items of a list as one column, or the members of a struct. */
    final Columns members;

    private ColumnType(Kind kind, Digits digits, Columns members) {
        this.kind = kind;
        this.digits = digits;
        this.members = members;
    }

    /** Returns the type of a kind that has only one. */
    static ColumnType of(Kind kind) {
        return new ColumnType(kind, null, null);
    }

    /** Returns the type of a Flink column. Decimals have the digits configured for the column's name. */
    static ColumnType of(String name, TypeInformation<?> type, Map<String, Digits> decimals) {
        if (type.equals(Types.BIG_DEC)) {
            Digits digits = decimals.get(name);
            if (digits == null) {
                throw new IllegalArgumentException("column `" + name
                        + "` has decimals, whose precision Flink does not give; set it on the plugin with `.decimal(\"" + name
                        + "\", 12, 2)`");
            }
            return new ColumnType(Kind.DECIMAL, digits, null);
        }
        TypeInformation<?> items = itemsOf(type);
        if (items != null) {
            ColumnType item = of(name, items, decimals);
            return new ColumnType(Kind.LIST, null, new Columns(new String[] {"item"}, new ColumnType[] {item}));
        }
        if (type instanceof RowTypeInfo row) {
            return new ColumnType(Kind.STRUCT, null, Columns.within(name + ".", row, decimals));
        }
        return Arrays.stream(Kind.values())
                .filter(kind -> type.equals(kind.type))
                .findFirst()
                .map(ColumnType::of)
                .orElseThrow(() -> new IllegalArgumentException(
                        "column `" + name + "` is " + type + ", which plugins do not support; drop it, or convert it to text"));
    }

    /** Returns the element type of a list or an array; null for other types. */
    static TypeInformation<?> itemsOf(TypeInformation<?> type) {
        if (type instanceof ListTypeInfo<?> list) {
            return list.getElementTypeInfo();
        } else if (type instanceof ObjectArrayTypeInfo<?, ?> array) {
            return array.getComponentInfo();
        }
        return type instanceof BasicArrayTypeInfo<?, ?> array ? array.getComponentInfo() : null;
    }

    /** Returns the type of an Arrow column. */
    static ColumnType of(Field field) {
        ArrowType type = field.getType();
        if (type instanceof ArrowType.Decimal decimal && decimal.getBitWidth() == 128) {
            return new ColumnType(Kind.DECIMAL, new Digits(decimal.getPrecision(), decimal.getScale()), null);
        } else if (type instanceof ArrowType.List) {
            return new ColumnType(Kind.LIST, null, Columns.of(field.getChildren()));
        } else if (type instanceof ArrowType.Struct) {
            return new ColumnType(Kind.STRUCT, null, Columns.of(field.getChildren()));
        }
        return of(kindOf(field));
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
        }
        throw new IllegalArgumentException(
                "column `" + field.getName() + "` is " + type + ", which Flink rows do not support here; let the plugin return text");
    }

    /** Returns the type in Flink. */
    TypeInformation<?> type() {
        return switch (kind) {
            case LIST -> Types.OBJECT_ARRAY(members.types[0].type());
            case STRUCT -> members.type();
            default -> kind.type;
        };
    }

    /** Returns an Arrow field with this name. Numbers of all sizes have the types of plugins. */
    Field field(String name) {
        List<Field> within = members == null ? null : members.fields();
        ArrowType type =
                switch (kind) {
                    case BOOL -> new ArrowType.Bool();
                    case BYTE, SHORT, INT, LONG -> new ArrowType.Int(64, true);
                    case FLOAT, DOUBLE -> new ArrowType.FloatingPoint(FloatingPointPrecision.DOUBLE);
                    case TEXT -> new ArrowType.Utf8();
                    case BINARY -> new ArrowType.Binary();
                    case INSTANT, LOCAL_DATE_TIME -> new ArrowType.Timestamp(TimeUnit.MICROSECOND, "UTC");
                    case DATE -> new ArrowType.Date(DateUnit.DAY);
                    case DECIMAL -> new ArrowType.Decimal(digits.precision, digits.scale, 128);
                    case LIST -> new ArrowType.List();
                    case STRUCT -> new ArrowType.Struct();
                };
        return new Field(name, FieldType.nullable(type), within);
    }

    /** Converts a decimal to the scale of the column. */
    BigDecimal scaled(BigDecimal value) {
        if (value.stripTrailingZeros().scale() > digits.scale) {
            throw new IllegalArgumentException(
                    value.toPlainString() + " has more than " + digits.scale + " decimal places, the scale of the column");
        }
        return value.setScale(digits.scale);
    }

    /** Creates an array for this number of list elements. */
    Object[] items(int count) {
        return (Object[]) Array.newInstance(members.types[0].type().getTypeClass(), count);
    }
}
