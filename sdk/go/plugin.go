package millstream

import (
	"fmt"
	"strings"
)

// about holds name, version and description of plugin.toml: hexadecimal digits of these with zero bytes between, set by
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
	// make makes it for a config.
	make func(stage *Stage) (any, error)
}

func register[P any](world string, make func(stage *Stage) (P, error)) {
	if registered.make != nil {
		panic("millstream: two plugins in one program; a component holds one")
	}
	registered.world = world
	registered.make = func(stage *Stage) (any, error) { return make(stage) }
}

// made is the plugin and its config.
var made struct {
	plugin any
	config string
}

// pluginOf returns the plugin, which is created again if the config changes.
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
	// After the plugin was created, which only some calls do, and which draws random numbers.
	seedRandom()
	return plugin, nil
}

// describer is what the plugins of all worlds have in common.
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
	// A plugin that was created now has seen the stage as described.
	made.plugin = nil
	return description, nil
}
