//go:build wasip1 && (millstream_update || millstream_update_migrating)

package millstream

import "millstream.dev/sdk/internal/abi"

//go:wasmexport millstream:plugin/updater@0.1.3#describe
func exportDescribe(config, configLength, fields, fieldsLength uint32) uint32 {
	if len(migrations) > 0 && !migrationsExported {
		return call(func(*abi.Area) error {
			return InternalError("the program calls millstream.Migrate: the world in plugin.toml is update-migrating then")
		})
	}
	return describeOne(config, configLength, fields, fieldsLength)
}

// The arguments are in memory: there are too many to pass them directly.
//
//go:wasmexport millstream:plugin/updater@0.1.3#update
func exportUpdate(at uint32) uint32 {
	ctx := contextOf(uint64(abi.LoadWide(at, 0)), abi.LoadWide(at, 8), uint32(abi.LoadTag(at, 16)), abi.LoadWide(at, 24))
	stage := &Stage{config: abi.String(abi.Load(at, 32), abi.Load(at, 36))}
	groups := &Groups{
		Keys:     liftBatch(abi.Load(at, 40), abi.Load(at, 44), abi.Load(at, 48)),
		Rows:     liftBatch(abi.Load(at, 52), abi.Load(at, 56), abi.Load(at, 60)),
		ends:     abi.Bytes(abi.Load(at, 64), abi.Load(at, 68)),
		States:   liftBatch(abi.Load(at, 72), abi.Load(at, 76), abi.Load(at, 80)),
		Known:    abi.Bytes(abi.Load(at, 84), abi.Load(at, 88)),
		TimedOut: abi.Bytes(abi.Load(at, 92), abi.Load(at, 96)),
	}
	return call(func(to *abi.Area) error {
		plugin, err := pluginOf[Updater](stage)
		if err != nil {
			return err
		}
		updated, err := plugin.Update(stage, ctx, groups)
		if err != nil {
			return err
		}
		lowerBatch(to, updated.States)
		to.PutBytes(updated.Kept)
		lowerBatch(to, updated.Output)
		lowerRejections(to, updated.Rejected)
		return nil
	})
}
