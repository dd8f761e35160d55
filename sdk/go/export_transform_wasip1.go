//go:build wasip1 && millstream_transform

package millstream

import "millstream.dev/sdk/internal/abi"

//go:wasmexport millstream:plugin/transformer@0.1.3#describe
func exportDescribe(config, configLength, fields, fieldsLength uint32) uint32 {
	return describeOne(config, configLength, fields, fieldsLength)
}

//go:wasmexport millstream:plugin/transformer@0.1.3#process
func exportProcess(
	batch uint64, time int64, hasWatermark uint32, watermark int64, config, configLength uint32,
	rows, columns, columnsLength uint32,
) uint32 {
	stage := &Stage{config: abi.String(config, configLength)}
	input := liftBatch(rows, columns, columnsLength)
	return call(func(to *abi.Area) error {
		plugin, err := pluginOf[Transformer](stage)
		if err != nil {
			return err
		}
		made, rejected, err := plugin.Process(contextOf(batch, time, hasWatermark, watermark), input)
		if err != nil {
			return err
		}
		lowerBatch(to, made)
		lowerRejections(to, rejected)
		return nil
	})
}
