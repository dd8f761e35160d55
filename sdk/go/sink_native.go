//go:build !wasip1

package millstream

import "millstream.dev/sdk/internal/bridge"

func init() {
	bridge.NewSink = func(config string) (bridge.Sink, error) {
		stage := Stage{config: config, hasInputs: true, hasKey: true}
		described, err := describe(&stage)
		return &sinkOfTest{stage, described.Input}, err
	}
}

// sinkOfTest is the sink of a test.
type sinkOfTest struct {
	stage Stage
	input Schema
}

func (s *sinkOfTest) Committed(jobID string) (uint64, error) {
	return committedOf(&s.stage, identityOf(jobID))
}

func (s *sinkOfTest) Open(jobID string, generation uint64) (bridge.Writer, uint64, error) {
	plugin, err := pluginOf[sinkOpener](&s.stage)
	if err != nil {
		return nil, 0, err
	}
	writer, last, err := plugin.open(Owner{identityOf(jobID), generation})
	return &writerOfTest{writer, s.input}, last, err
}

func (s *sinkOfTest) AtLeastOnce() (bool, error) {
	_, err := pluginOf[sinkOpener](&s.stage)
	return promiseOf() == AtLeastOnce, err
}

func identityOf(jobID string) Identity { return Identity{"test", jobID, "out"} }

// writerOfTest is the open sink of a test.
type writerOfTest struct {
	writer batchWriter
	input  Schema
}

func (w *writerOfTest) Begun(batch uint64, rows string) ([]bridge.Rejected, error) {
	read, err := rowsOf(rows)
	if err != nil {
		return nil, err
	}
	made, err := batchOf(w.input, read)
	if err != nil {
		return nil, err
	}
	if err := w.writer.begin(batch, Timestamp(batch*1_000_000)); err != nil {
		return nil, err
	}
	rejected, err := w.writer.write(made)
	var refused []bridge.Rejected
	for _, own := range rejected {
		refused = append(refused, bridge.Rejected{Row: int(own.Row), Reason: own.Reason})
	}
	return refused, err
}

func (w *writerOfTest) Commit(batch uint64) error { return w.writer.commit(batch) }
