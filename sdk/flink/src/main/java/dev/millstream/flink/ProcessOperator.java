package dev.millstream.flink;

import java.util.List;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;

/** Calls a plugin of world {@code transform}. */
final class ProcessOperator extends CallingOperator {
    ProcessOperator(Described described) {
        super(described);
    }

    @Override
    public void processElement(StreamRecord<Row> row) throws Exception {
        rows.add(row.getValue());
        gathered();
    }

    @Override
    void flush() throws Exception {
        if (rows.rows() > 0) {
            call(null, List.of(rows.take()));
        }
    }
}
