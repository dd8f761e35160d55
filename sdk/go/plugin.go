package millstream

import (
	"fmt"
	"strings"
)

// about has name, version and description of plugin.toml, as hexadecimal digits with zero bytes between. Set by
// `millstream build`.
var about string

func (d *Description) complete() {
	var text []byte
	_, _ = fmt.Sscanf(about, "%x", &text)
	parts := append(strings.Split(string(text), "\x00"), "", "", "")
	for i, part := range []*string{&d.Name, &d.Version, &d.Doc} {
		if *part == "" {
			*part = parts[i]
		}
	}
}

// registered is the plugin of this program.
var registered struct {
	world string
	// make creates the plugin for a config.
	make func(stage *Stage) (any, error)
}

func register[P any](world string, make func(stage *Stage) (P, error)) {
	if registered.make != nil {
		panic("millstream: two plugins in one program; a component holds one")
	}
	registered.world = world
	registered.make = func(stage *Stage) (any, error) { return make(stage) }
}

// made is the created plugin and its config.
var made struct {
	plugin any
	config string
}

// pluginOf returns the plugin. It creates it again if the config changes.
func pluginOf[P any](stage *Stage) (P, error) {
	var none P
	if registered.make == nil {
		return none, InternalError("the program registers no plugin: call millstream.Transform, or the function of another " +
			"world, in an init function")
	}
	if made.plugin == nil || made.config != stage.config {
		plugin, err := registered.make(stage)
		if err != nil {
			return none, err
		}
		made.plugin, made.config = plugin, stage.config
	}
	plugin, ok := made.plugin.(P)
	if !ok {
		return none, internalf("the program registers a plugin of world %s, and plugin.toml says another", registered.world)
	}
	// Seed after the plugin is created. Only some calls create it, and creating it may draw random numbers.
	seedRandom()
	return plugin, nil
}

// describer is the common interface of the plugins of all worlds.
type describer interface {
	Describe(stage *Stage) (Description, error)
}

func describe(stage *Stage) (Description, error) {
	made.plugin = nil
	plugin, err := pluginOf[describer](stage)
	if err != nil {
		return Description{}, err
	}
	description, err := plugin.Describe(stage)
	if err != nil {
		return Description{}, err
	}
	description.complete()
	// A plugin that was created now has seen all columns, not the described ones.
	made.plugin = nil
	return description, nil
}
