//go:build wasip1 && millstream_cogroup

package millstream

import "millstream.dev/sdk/internal/abi"

//go:wasmexport millstream:plugin/cogrouper@0.1.3#describe
func exportDescribe(config, configLength, inputs, inputsLength uint32) uint32 {
	stage := &Stage{config: abi.String(config, configLength), inputs: make([]Schema, inputsLength), hasInputs: true}
	for i := range stage.inputs {
		at := inputs + uint32(i)*8
		stage.inputs[i] = liftSchema(abi.Load(at, 0), abi.Load(at, 4))
	}
	return describeTo(stage, func(to *abi.Area, d *Description) {
		for _, text := range []string{d.Name, d.Version, d.Doc} {
			to.PutString(text)
		}
		list := &abi.Area{}
		for _, schema := range d.Inputs {
			lowerSchema(list, schema)
		}
		to.PutArea(list, len(d.Inputs))
		lowerSchema(to, d.Output)
		lowerKey(to, d.Key)
		to.PutString(d.ConfigSchema)
	})
}

//go:wasmexport millstream:plugin/cogrouper@0.1.3#cogroup
func exportCogroup(
	batch uint64, time int64, hasWatermark uint32, watermark int64, config, configLength uint32,
	keyRows, keys, keysLength, inputs, inputsLength uint32,
) uint32 {
	const bytes = 20
	stage := &Stage{config: abi.String(config, configLength)}
	groups := &Cogroups{Keys: liftBatch(keyRows, keys, keysLength), Inputs: make([]Grouped, inputsLength)}
	for i := range groups.Inputs {
		at := inputs + uint32(i)*bytes
		groups.Inputs[i] = Grouped{
			Rows: liftBatch(abi.Load(at, 0), abi.Load(at, 4), abi.Load(at, 8)),
			ends: abi.Bytes(abi.Load(at, 12), abi.Load(at, 16)),
		}
	}
	return call(func(to *abi.Area) error {
		plugin, err := pluginOf[Cogrouper](stage)
		if err != nil {
			return err
		}
		ctx := contextOf(batch, time, hasWatermark, watermark)
		made, rejected, err := plugin.Cogroup(stage, ctx, groups)
		if err != nil {
			return err
		}
		lowerBatch(to, made)
		list := &abi.Area{}
		for _, rejected := range rejected {
			lowerRejections(list, rejected)
		}
		to.PutArea(list, len(rejected))
		return nil
	})
}
