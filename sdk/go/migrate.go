package millstream

import (
	"fmt"
	"slices"
	"strings"
)

// Migrate registers a function that converts states of another version of the plugin, for plugins of world update whose
// state has other columns now. Call it once for each format of old states, in addition to [Update]; the columns select the
// function. An error reports that the states cannot be migrated. In plugin.toml, the world is "update-migrating".
func Migrate[Old, S any](function func(old Old) (S, error)) {
	old, state := layoutOf[Old](), layoutOf[S]()
	states := migrateRows[Old, S]{function: function, old: block[Old]{layout: old}, new: newOut[S](state)}
	migrations = append(migrations, migration{schema: old.schema(), migrate: states.migrate})
}

// migration converts old states with these columns.
type migration struct {
	schema  Schema
	migrate func(states *Batch) (*Batch, error)
}

var (
	// migrations are the registered migrations.
	migrations []migration
	// migrationsExported reports whether the component exports them.
	migrationsExported bool
)

type migrateRows[Old, S any] struct {
	function func(old Old) (S, error)
	old      block[Old]
	new      *Out[S]
}

func (m *migrateRows[Old, S]) migrate(states *Batch) (*Batch, error) {
	if err := m.old.begin(states); err != nil {
		return nil, err
	}
	defer m.old.end()
	m.new.begin(states.rows, states.Bytes())
	for row := range states.rows {
		state, err := m.function(*m.old.at(row))
		if err != nil {
			return nil, failed(row, err)
		}
		m.new.Push(state)
	}
	return m.new.batch()
}

// migrate converts the states of another version.
func migrate(version string, schema Schema, states *Batch) (*Batch, error) {
	var known []string
	for _, own := range migrations {
		if slices.Equal(own.schema, schema) {
			return own.migrate(states)
		}
		known = append(known, fmt.Sprintf("(%v)", own.schema))
	}
	return nil, internalf("states of version %s have the columns (%v); expected %s",
		version, schema, strings.Join(known, " or "))
}
