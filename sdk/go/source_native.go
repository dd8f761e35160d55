//go:build !wasip1

package millstream

import (
	"time"

	"millstream.dev/sdk/internal/bridge"
)

func init() {
	bridge.NewSource = func(config string) (bridge.Source, error) {
		stage := Stage{config: config, hasInputs: true, hasKey: true}
		described, err := describe(&stage)
		return &sourceOfTest{stage, described.Output}, err
	}
}

// sourceOfTest is the source of a test.
type sourceOfTest struct {
	stage  Stage
	output Schema
}

func (s *sourceOfTest) Partitions() ([]string, error) { return partitionsOf(&s.stage) }

func (s *sourceOfTest) Open(partition string, position []byte) (bridge.Partition, error) {
	plugin, err := pluginOf[opener](&s.stage)
	if err != nil {
		return nil, err
	}
	reader, err := plugin.open(partition, position)
	return &partitionOfTest{reader, s.output}, err
}

// partitionOfTest is a partition that a test reads.
type partitionOfTest struct {
	reader partitionReader
	output Schema
}

func (p *partitionOfTest) Poll(rowsMax int, wait time.Duration) (bridge.Poll, error) {
	batch, refused, polled, err := p.reader.poll(rowsMax, wait)
	if err != nil {
		return bridge.Poll{}, err
	}
	if count := batch.rows + len(refused); count > rowsMax {
		return bridge.Poll{}, internalf("%d rows, including rejected ones, but at most %d were requested", count, rowsMax)
	}
	rows, err := jsonOf(p.output, batch)
	made := bridge.Poll{Rows: text(rows), Position: polled.Position, Pause: polled.Pause, Ended: polled.Ended}
	for _, refusal := range refused {
		made.Refused = append(made.Refused, bridge.Refused(refusal))
	}
	return made, err
}

func (p *partitionOfTest) Durable(position []byte) error   { return p.reader.durable(position) }
func (p *partitionOfTest) Published(position []byte) error { return p.reader.published(position) }
