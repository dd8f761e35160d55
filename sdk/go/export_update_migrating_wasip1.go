//go:build wasip1 && millstream_update_migrating

package millstream

import "millstream.dev/sdk/internal/abi"

func init() {
	migrationsExported = true
}

//go:wasmexport millstream:plugin/migrator@0.1.3#migrate
func exportMigrate(_, _, version, versionLength, fields, fieldsLength, rows, columns, columnsLength uint32) uint32 {
	from, schema := abi.String(version, versionLength), liftSchema(fields, fieldsLength)
	states := liftBatch(rows, columns, columnsLength)
	return call(func(to *abi.Area) error {
		seedRandom()
		made, err := migrate(from, schema, states)
		if err != nil {
			return err
		}
		lowerBatch(to, made)
		return nil
	})
}
