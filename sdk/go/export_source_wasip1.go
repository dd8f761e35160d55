//go:build wasip1 && millstream_source

package millstream

import (
	"time"

	"millstream.dev/sdk/internal/abi"
)

// reading is the reader of this instance.
var reading partitionReader

//go:wasmexport millstream:plugin/reader@0.1.3#describe
func exportDescribe(config, configLength uint32) uint32 {
	stage := &Stage{config: abi.String(config, configLength), hasInputs: true, hasKey: true}
	return describeTo(stage, func(to *abi.Area, d *Description) {
		for _, text := range []string{d.Name, d.Version, d.Doc} {
			to.PutString(text)
		}
		lowerSchema(to, d.Output)
		to.PutString(d.ConfigSchema)
	})
}

//go:wasmexport millstream:plugin/reader@0.1.3#partitions
func exportPartitions(config, configLength uint32) uint32 {
	stage := &Stage{config: abi.String(config, configLength), hasInputs: true, hasKey: true}
	return callOrTrap(func(to *abi.Area) error {
		names, err := partitionsOf(stage)
		if err != nil {
			return err
		}
		list := &abi.Area{}
		for _, name := range names {
			list.PutString(name)
		}
		to.PutArea(list, len(names))
		return nil
	})
}

//go:wasmexport millstream:plugin/reader@0.1.3#open
func exportOpen(config, configLength, partition, partitionLength, hasPosition, position, positionLength uint32) uint32 {
	stage := &Stage{config: abi.String(config, configLength), hasInputs: true, hasKey: true}
	name := abi.String(partition, partitionLength)
	var at []byte
	if hasPosition != 0 {
		at = abi.Bytes(position, positionLength)
	}
	return callOrTrap(func(*abi.Area) error {
		source, err := pluginOf[opener](stage)
		if err != nil {
			return err
		}
		reading, err = source.open(name, at)
		return err
	})
}

//go:wasmexport millstream:plugin/reader@0.1.3#poll
func exportPoll(rowsMax, waitMs uint32) uint32 {
	return callOrTrap(func(to *abi.Area) error {
		seedRandom()
		rows, refused, polled, err := reading.poll(int(rowsMax), time.Duration(waitMs)*time.Millisecond)
		if err != nil {
			return err
		}
		lowerBatch(to, rows)
		list := &abi.Area{}
		for _, refusal := range refused {
			list.PutBytes(refusal.Data)
			list.PutString(refusal.Reason)
		}
		to.PutArea(list, len(refused))
		to.PutBool(polled.Position != nil)
		to.PutBytes(polled.Position)
		// Write the case: ready, pause or ended.
		pause := max(polled.Pause.Milliseconds(), 0)
		next := uint32(min(pause, 1))
		if polled.Ended {
			next = 2
		}
		to.Put(next)
		to.Put(uint32(min(pause, 1<<32-1)))
		return nil
	})
}

//go:wasmexport millstream:plugin/reader@0.1.3#durable
func exportDurable(position, length uint32) uint32 {
	return callOrTrap(func(*abi.Area) error { return reading.durable(abi.Bytes(position, length)) })
}

//go:wasmexport millstream:plugin/reader@0.1.3#published
func exportPublished(position, length uint32) uint32 {
	return callOrTrap(func(*abi.Area) error { return reading.published(abi.Bytes(position, length)) })
}
