package dev.millstream.flink;

import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.types.Row;
import org.apache.flink.util.OutputTag;

/** What a plugin makes of a stream. */
public final class Made {
    private final SingleOutputStreamOperator<Row> rows;
    private final OutputTag<Row> rejected;

    Made(SingleOutputStreamOperator<Row> rows, OutputTag<Row> rejected) {
        this.rows = rows;
        this.rejected = rejected;
    }

    /** The rows that it emits. They have no timestamps: if later steps need them, assign them again. */
    public SingleOutputStreamOperator<Row> rows() {
        return rows;
    }

    /** The rejected rows, unchanged, followed by the column {@code reason}. */
    public DataStream<Row> rejected() {
        return rows.getSideOutput(rejected);
    }

    /** A name for metrics and restarts, by which Flink finds the state again. */
    public Made uid(String uid) {
        rows.uid(uid).name(uid);
        return this;
    }
}
