package millstream

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// Stage is the stage that uses the plugin: its config, its input and its key.
type Stage struct {
	config string
	inputs []Schema
	key    Schema
	// Whether these were requested from the host. Most plugins do not need them, and the request costs time.
	hasInputs, hasKey bool
}

// Input returns the columns of the input rows. In Describe, these are all columns of the stage's input, later only those that
// the description selects. With several inputs, it returns the first one.
func (s *Stage) Input() Schema {
	if inputs := s.Inputs(); len(inputs) > 0 {
		return inputs[0]
	}
	return nil
}

// Inputs returns the columns of each input. Only world cogroup has several.
func (s *Stage) Inputs() []Schema {
	if !s.hasInputs {
		s.inputs, s.hasInputs = hostInputs(), true
	}
	return s.inputs
}

// Key returns the stage's key columns. It is empty if the stage has no key.
func (s *Stage) Key() Schema {
	if !s.hasKey {
		s.key, s.hasKey = hostKey(), true
	}
	return s.key
}

// Config reads the stage's config, a JSON object, into a struct, like encoding/json. In addition, it rejects fields that
// the struct does not have, and a config without a field that has the tag `millstream:"required"`.
func (s *Stage) Config(to any) error {
	text := strings.TrimSpace(s.config)
	if text == "" {
		text = "{}"
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &given); err != nil {
		return ConfigError(withoutPackage(err))
	}
	if err := checkFields(reflect.TypeOf(to).Elem(), given); err != nil {
		return err
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		return ConfigError(withoutPackage(err))
	}
	return nil
}

// checkFields compares the fields of a config with those of its struct. encoding/json has no required fields and ignores
// case.
func checkFields(config reflect.Type, given map[string]json.RawMessage) error {
	var unknown []string
	for name := range given {
		unknown = append(unknown, name)
	}
	for _, field := range reflect.VisibleFields(config) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			name = field.Name
		}
		unknown = slices.DeleteFunc(unknown, func(other string) bool { return other == name })
		if _, is := given[name]; !is && field.Tag.Get("millstream") == "required" {
			return ConfigError("missing field `" + name + "`")
		}
	}
	if len(unknown) > 0 {
		return ConfigError("unknown field `" + slices.Min(unknown) + "`")
	}
	return nil
}

func withoutPackage(err error) string { return strings.TrimPrefix(err.Error(), "json: ") }

// NoConfig returns an error unless the stage's config is absent or empty.
func (s *Stage) NoConfig() error {
	switch strings.TrimSpace(s.config) {
	case "", "{}", "null":
		return nil
	}
	return ConfigError("this plugin takes no config")
}

// Context is the context of a call. A replay of the batch has the same context.
type Context struct {
	// Batch is the ID of the batch: 1, 2, 3 … since the job's first start.
	Batch uint64
	// Time is the time of the batch: the end of its interval. time.Now returns it, too.
	Time Timestamp
	// Watermark is the event time up to which input is considered complete.
	Watermark Null[Timestamp]
	// TimedOut, in world update, is true if this is the last call for a key that was idle for the stage's timeout. The key's
	// state is removed afterwards, whatever the function returns.
	TimedOut bool
	// Timers are the timers of the key, in world update.
	Timers Timers
}

// configs has the variable registered by [Config].
var configs *configOf

type configOf struct {
	// read reads the stage's config into the variable.
	read   func(stage *Stage) error
	schema string
}

// Config returns a variable that has the stage's config when a function of the plugin is called. The config is read as by
// encoding/json. Fields that it does not have keep the value in defaults, or are an error if they have the tag
// `millstream:"required"`. Fields that the struct does not have are an error. Call it once, for a package variable:
//
//	var config = millstream.Config(struct {
//		Tax float64 `json:"tax"`
//	}{})
//
// A plugin that does not call it takes no config.
func Config[T any](defaults T) *T {
	if kind := reflect.TypeFor[T]().Kind(); kind != reflect.Struct {
		panic("millstream: a config is a struct, not " + kind.String())
	}
	value := new(T)
	*value = defaults
	schema := ""
	if configs != nil {
		schema = configs.schema
	}
	configs = &configOf{schema: schema, read: func(stage *Stage) error {
		*value = defaults
		return stage.Config(value)
	}}
	return value
}

// ConfigSchema sets the JSON Schema of the config, for authors of jobs.
func ConfigSchema(schema string) struct{} {
	if configs == nil {
		configs = &configOf{read: (*Stage).NoConfig}
	}
	configs.schema = schema
	return struct{}{}
}

func readConfig(stage *Stage) error {
	if configs == nil {
		return stage.NoConfig()
	}
	return configs.read(stage)
}

// description returns the common part of the descriptions of functions on rows.
func description() Description {
	made := Description{}
	if configs != nil {
		made.ConfigSchema = configs.schema
	}
	return made
}
