package dev.millstream.flink;

import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.types.Row;
import org.apache.flink.util.OutputTag;

/** Output of a plugin. */
public final class Made {
    private final SingleOutputStreamOperator<Row> rows;
    private final OutputTag<Row> rejected;

    Made(SingleOutputStreamOperator<Row> rows, OutputTag<Row> rejected) {
        this.rows = rows;
        this.rejected = rejected;
    }

    /** Returns the emitted rows. They have no timestamps. If later steps need them, assign them again. */
    public SingleOutputStreamOperator<Row> rows() {
        return rows;
    }

    /** Returns the rejected rows, unchanged, followed by the column {@code reason}. */
    public DataStream<Row> rejected() {
        return rows.getSideOutput(rejected);
    }

    /** Sets the ID and name of the operator, for metrics and for its state after a restart. */
    public Made uid(String uid) {
        rows.uid(uid).name(uid);
        return this;
    }
}
