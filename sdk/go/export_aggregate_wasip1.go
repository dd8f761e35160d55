//go:build wasip1 && millstream_aggregate

package millstream

import "millstream.dev/sdk/internal/abi"

//go:wasmexport millstream:plugin/aggregator@0.1.3#describe
func exportDescribe(config, configLength, fields, fieldsLength uint32) uint32 {
	return describeOne(config, configLength, fields, fieldsLength)
}

//go:wasmexport millstream:plugin/aggregator@0.1.3#lift
func exportLift(
	batch uint64, time int64, hasWatermark uint32, watermark int64, config, configLength uint32,
	rows, columns, columnsLength uint32,
) uint32 {
	input := liftBatch(rows, columns, columnsLength)
	return aggregate(config, configLength, func(plugin BatchAggregator) (*Batch, error) {
		return plugin.Lift(contextOf(batch, time, hasWatermark, watermark), input)
	})
}

//go:wasmexport millstream:plugin/aggregator@0.1.3#combine
func exportCombine(
	batch uint64, time int64, hasWatermark uint32, watermark int64, config, configLength uint32,
	leftRows, left, leftLength, rightRows, right, rightLength uint32,
) uint32 {
	lefts, rights := liftBatch(leftRows, left, leftLength), liftBatch(rightRows, right, rightLength)
	return aggregate(config, configLength, func(plugin BatchAggregator) (*Batch, error) {
		return plugin.Combine(contextOf(batch, time, hasWatermark, watermark), lefts, rights)
	})
}

//go:wasmexport millstream:plugin/aggregator@0.1.3#lower
func exportLower(
	batch uint64, time int64, hasWatermark uint32, watermark int64, config, configLength uint32,
	keyRows, keys, keysLength, rows, columns, columnsLength uint32,
) uint32 {
	groups, accumulators := liftBatch(keyRows, keys, keysLength), liftBatch(rows, columns, columnsLength)
	return aggregate(config, configLength, func(plugin BatchAggregator) (*Batch, error) {
		return plugin.Lower(contextOf(batch, time, hasWatermark, watermark), groups, accumulators)
	})
}

//go:wasmexport millstream:plugin/aggregator@0.1.3#inverse
func exportInverse(
	batch uint64, time int64, hasWatermark uint32, watermark int64, config, configLength uint32,
	wholeRows, whole, wholeLength, partRows, part, partLength uint32,
) uint32 {
	wholes, parts := liftBatch(wholeRows, whole, wholeLength), liftBatch(partRows, part, partLength)
	return aggregate(config, configLength, func(plugin BatchAggregator) (*Batch, error) {
		return plugin.Inverse(contextOf(batch, time, hasWatermark, watermark), wholes, parts)
	})
}

func aggregate(config, configLength uint32, function func(plugin BatchAggregator) (*Batch, error)) uint32 {
	stage := &Stage{config: abi.String(config, configLength)}
	return call(func(to *abi.Area) error {
		plugin, err := pluginOf[BatchAggregator](stage)
		if err != nil {
			return err
		}
		made, err := function(plugin)
		if err != nil {
			return err
		}
		lowerBatch(to, made)
		return nil
	})
}
