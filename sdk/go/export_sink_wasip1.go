//go:build wasip1 && millstream_sink

package millstream

import "millstream.dev/sdk/internal/abi"

// writing is the writer of this instance.
var writing batchWriter

//go:wasmexport millstream:plugin/writer@0.1.3#describe
func exportDescribe(config, configLength, fields, fieldsLength uint32) uint32 {
	stage := &Stage{
		config:    abi.String(config, configLength),
		inputs:    []Schema{liftSchema(fields, fieldsLength)},
		hasInputs: true,
		hasKey:    true,
	}
	return describeTo(stage, func(to *abi.Area, d *Description) {
		for _, text := range []string{d.Name, d.Version, d.Doc} {
			to.PutString(text)
		}
		lowerSchema(to, d.Input)
		to.Put(uint32(promiseOf()))
		to.PutString(d.ConfigSchema)
	})
}

//go:wasmexport millstream:plugin/writer@0.1.3#committed
func exportCommitted(config, configLength, job, jobLength, jobID, jobIDLength, sink, sinkLength uint32) uint32 {
	stage := &Stage{config: abi.String(config, configLength), hasInputs: true, hasKey: true}
	of := Identity{abi.String(job, jobLength), abi.String(jobID, jobIDLength), abi.String(sink, sinkLength)}
	return lastOrTrap(func() (uint64, error) { return committedOf(stage, of) })
}

//go:wasmexport millstream:plugin/writer@0.1.3#open
func exportOpen(
	config, configLength, _, _, job, jobLength, jobID, jobIDLength, sink, sinkLength uint32, generation uint64,
) uint32 {
	stage := &Stage{config: abi.String(config, configLength), hasInputs: true, hasKey: true}
	of := Identity{abi.String(job, jobLength), abi.String(jobID, jobIDLength), abi.String(sink, sinkLength)}
	return lastOrTrap(func() (last uint64, err error) {
		opener, err := pluginOf[sinkOpener](stage)
		if err != nil {
			return 0, err
		}
		writing, last, err = opener.open(Owner{of, generation})
		return last, err
	})
}

//go:wasmexport millstream:plugin/writer@0.1.3#begin
func exportBegin(batch uint64, time int64) uint32 {
	return callOrTrap(func(*abi.Area) error { return writing.begin(batch, Timestamp(time)) })
}

//go:wasmexport millstream:plugin/writer@0.1.3#write
func exportWrite(rows, columns, columnsLength uint32) uint32 {
	return callOrTrap(func(to *abi.Area) error {
		seedRandom()
		rejected, err := writing.write(liftBatch(rows, columns, columnsLength))
		if err != nil {
			return err
		}
		lowerRejections(to, rejected)
		return nil
	})
}

//go:wasmexport millstream:plugin/writer@0.1.3#commit
func exportCommit(batch uint64) uint32 {
	return callOrTrap(func(*abi.Area) error { return writing.commit(batch) })
}

// lastOrTrap runs a call that returns the last batch, or 0 if there is none.
func lastOrTrap(function func() (uint64, error)) uint32 {
	return callWith(true, orTrap(func(to *abi.Area) error {
		last, err := function()
		if err != nil {
			return err
		}
		to.PutBool(last > 0)
		to.Put(0)
		to.Put(uint32(last))
		to.Put(uint32(last >> 32))
		return nil
	}))
}
