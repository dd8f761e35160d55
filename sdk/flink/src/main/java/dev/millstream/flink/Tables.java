package dev.millstream.flink;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.channels.Channels;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.BigIntVector;
import org.apache.arrow.vector.BitVector;
import org.apache.arrow.vector.DateDayVector;
import org.apache.arrow.vector.DecimalVector;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.Float8Vector;
import org.apache.arrow.vector.TimeStampMicroTZVector;
import org.apache.arrow.vector.TimeStampVector;
import org.apache.arrow.vector.VarBinaryVector;
import org.apache.arrow.vector.VarCharVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ArrowStreamReader;
import org.apache.arrow.vector.ipc.ArrowStreamWriter;
import org.apache.arrow.vector.types.pojo.Schema;
import org.apache.flink.types.Row;

/** Rows as streams of Arrow IPC, and back. Not for several threads. */
final class Tables implements AutoCloseable {
    private final BufferAllocator allocator = new RootAllocator();

    /** A table that rows are put into. */
    final class Writer implements AutoCloseable {
        private final Columns columns;
        private final VectorSchemaRoot root;
        private int rows;
        private long bytes;

        private Writer(Columns columns) {
            this.columns = columns;
            root = VectorSchemaRoot.create(columns.schema(), allocator);
        }

        /** How many rows it has. */
        int rows() {
            return rows;
        }

        /** How many bytes its texts have, about. */
        long bytes() {
            return bytes;
        }

        /** Puts values in, one for each column. */
        void add(Row row) {
            for (int column = 0; column < columns.count(); column++) {
                put(column, row.getField(column));
            }
            rows++;
        }

        /** The same with the value of the last column beside the others. */
        void add(Row row, Object last) {
            int count = columns.count() - 1;
            for (int column = 0; column < count; column++) {
                put(column, row.getField(column));
            }
            put(count, last);
            rows++;
        }

        private void put(int column, Object value) {
            FieldVector vector = root.getVector(column);
            if (value == null) {
                vector.setNull(rows);
                return;
            }
            switch (columns.kinds[column]) {
                case BOOL -> ((BitVector) vector).setSafe(rows, (Boolean) value ? 1 : 0);
                case BYTE, SHORT, INT, LONG -> ((BigIntVector) vector).setSafe(rows, ((Number) value).longValue());
                case FLOAT, DOUBLE -> ((Float8Vector) vector).setSafe(rows, ((Number) value).doubleValue());
                case TEXT -> {
                    byte[] text = ((String) value).getBytes(StandardCharsets.UTF_8);
                    bytes += text.length;
                    ((VarCharVector) vector).setSafe(rows, text);
                }
                case BINARY -> {
                    bytes += ((byte[]) value).length;
                    ((VarBinaryVector) vector).setSafe(rows, (byte[]) value);
                }
                case INSTANT -> ((TimeStampVector) vector).setSafe(rows, Columns.microseconds((Instant) value));
                case LOCAL_DATE_TIME -> ((TimeStampVector) vector)
                        .setSafe(rows, Columns.microseconds(((LocalDateTime) value).toInstant(ZoneOffset.UTC)));
                case DATE -> ((DateDayVector) vector).setSafe(rows, Math.toIntExact(((LocalDate) value).toEpochDay()));
                case DECIMAL -> ((DecimalVector) vector).setSafe(rows, columns.scaled(column, (BigDecimal) value));
            }
        }

        /** All rows as bytes; it has none then. */
        byte[] take() throws IOException {
            ByteArrayOutputStream stream = new ByteArrayOutputStream();
            root.setRowCount(rows);
            try (ArrowStreamWriter writer = new ArrowStreamWriter(root, null, Channels.newChannel(stream))) {
                writer.start();
                if (rows > 0) {
                    writer.writeBatch();
                }
                writer.end();
            }
            root.getFieldVectors().forEach(FieldVector::reset);
            root.setRowCount(0);
            rows = 0;
            bytes = 0;
            return stream.toByteArray();
        }

        @Override
        public void close() {
            root.close();
        }
    }

    /** A table for rows of these columns. */
    Writer writer(Columns columns) {
        return new Writer(columns);
    }

    /** The columns of a table. */
    Columns columns(byte[] table) throws IOException {
        try (ArrowStreamReader reader = new ArrowStreamReader(new ByteArrayInputStream(table), allocator)) {
            return Columns.of(reader.getVectorSchemaRoot().getSchema());
        }
    }

    /** The rows of a table. */
    List<Row> read(byte[] table) throws IOException {
        List<Row> rows = new ArrayList<>();
        try (ArrowStreamReader reader = new ArrowStreamReader(new ByteArrayInputStream(table), allocator)) {
            VectorSchemaRoot root = reader.getVectorSchemaRoot();
            Schema schema = root.getSchema();
            Columns columns = Columns.of(schema);
            while (reader.loadNextBatch()) {
                int begin = rows.size();
                int count = root.getRowCount();
                for (int row = 0; row < count; row++) {
                    rows.add(new Row(columns.count()));
                }
                for (int column = 0; column < columns.count(); column++) {
                    FieldVector vector = root.getVector(column);
                    for (int row = 0; row < count; row++) {
                        if (!vector.isNull(row)) {
                            rows.get(begin + row).setField(column, value(columns.kinds[column], vector, row));
                        }
                    }
                }
            }
        }
        return rows;
    }

    private static Object value(Columns.Kind kind, FieldVector vector, int row) {
        return switch (kind) {
            case BOOL -> ((BitVector) vector).get(row) != 0;
            case LONG -> ((BigIntVector) vector).get(row);
            case DOUBLE -> ((Float8Vector) vector).get(row);
            case TEXT -> new String(((VarCharVector) vector).get(row), StandardCharsets.UTF_8);
            case BINARY -> ((VarBinaryVector) vector).get(row);
            case INSTANT -> Columns.instant(
                    vector instanceof TimeStampMicroTZVector times ? times.get(row) : ((TimeStampVector) vector).get(row));
            case DATE -> LocalDate.ofEpochDay(((DateDayVector) vector).get(row));
            case DECIMAL -> ((DecimalVector) vector).getObject(row);
            default -> throw new IllegalStateException("no table has " + kind);
        };
    }

    @Override
    public void close() {
        allocator.close();
    }
}
