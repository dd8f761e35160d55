package dev.millstream.flink;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.channels.Channels;
import java.util.ArrayList;
import java.util.List;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.FieldVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ArrowStreamReader;
import org.apache.arrow.vector.ipc.ArrowStreamWriter;
import org.apache.flink.types.Row;

/** Converts rows to Arrow IPC streams and back. Not thread-safe. */
final class Tables implements AutoCloseable {
    private final BufferAllocator allocator = new RootAllocator();

    /** A table that rows are added to. */
    final class Writer implements AutoCloseable {
        private final Columns columns;
        private final VectorSchemaRoot root;
        private int rows;
        private long bytes;

        private Writer(Columns columns) {
            this.columns = columns;
            root = VectorSchemaRoot.create(columns.schema(), allocator);
        }

        /** Returns the number of rows. */
        int rows() {
            return rows;
        }

        /** Returns the approximate size of the strings in bytes. */
        long bytes() {
            return bytes;
        }

        /** Adds a row. */
        void add(Row row) {
            put(row, columns.count());
            rows++;
        }

        /** Adds a row with an additional value for the last column. */
        void add(Row row, Object last) {
            int count = columns.count() - 1;
            put(row, count);
            put(count, last);
            rows++;
        }

        private void put(Row row, int count) {
            for (int column = 0; column < count; column++) {
                put(column, row.getField(column));
            }
        }

        private void put(int column, Object value) {
            try {
                bytes += Values.put(root.getVector(column), rows, columns.types[column], value);
            } catch (RuntimeException error) {
                throw new IllegalArgumentException(
                        "column `" + columns.names[column] + "` cannot go to a plugin: " + error.getMessage(), error);
            }
        }

        /** Returns all rows as bytes, and removes them. */
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

    /** Creates a table with these columns. */
    Writer writer(Columns columns) {
        return new Writer(columns);
    }

    /** Reads the columns of a table. */
    Columns columns(byte[] table) throws IOException {
        try (ArrowStreamReader reader = new ArrowStreamReader(new ByteArrayInputStream(table), allocator)) {
            return Columns.of(reader.getVectorSchemaRoot().getSchema().getFields());
        }
    }

    /** Reads the rows of a table. */
    List<Row> read(byte[] table) throws IOException {
        List<Row> rows = new ArrayList<>();
        try (ArrowStreamReader reader = new ArrowStreamReader(new ByteArrayInputStream(table), allocator)) {
            VectorSchemaRoot root = reader.getVectorSchemaRoot();
            Columns columns = Columns.of(root.getSchema().getFields());
            while (reader.loadNextBatch()) {
                int begin = rows.size();
                int count = root.getRowCount();
                for (int row = 0; row < count; row++) {
                    rows.add(new Row(columns.count()));
                }
                for (int column = 0; column < columns.count(); column++) {
                    FieldVector vector = root.getVector(column);
                    for (int row = 0; row < count; row++) {
                        rows.get(begin + row).setField(column, Values.read(vector, row, columns.types[column]));
                    }
                }
            }
        }
        return rows;
    }

    @Override
    public void close() {
        allocator.close();
    }
}
