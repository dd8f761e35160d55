//go:build wasip1

package millstream

import "millstream.dev/sdk/internal/abi"

func init() {
	takeLog()
}

//go:wasmimport millstream:plugin/stage@0.1.3 inputs
func importInputs(to *[2]uint32)

//go:wasmimport millstream:plugin/stage@0.1.3 key
func importKey(to *[2]uint32)

//go:wasmimport millstream:plugin/timers@0.1.3 due
func importDue(to *[4]uint32)

//go:wasmimport millstream:plugin/timers@0.1.3 set
func importSet(group uint32, at int64)

//go:wasmimport millstream:plugin/timers@0.1.3 cancel
func importCancel(group uint32, at int64)

//go:wasmimport millstream:plugin/log@0.1.3 write
func importWrite(level int32, line string)

//go:wasmimport millstream:plugin/metrics@0.1.3 add
func importAdd(counter string, amount uint64)

//go:wasmimport millstream:plugin/files@0.1.3 size
func importSize(name string, to *[2]uint64)

//go:wasmimport millstream:plugin/files@0.1.3 read
func importRead(name string, offset uint64, length uint32, to *[3]uint32)

func hostInputs() []Schema {
	var list [2]uint32
	importInputs(&list)
	inputs := make([]Schema, list[1])
	for i := range inputs {
		at := list[0] + uint32(i)*8
		inputs[i] = liftSchema(abi.Load(at, 0), abi.Load(at, 4))
	}
	return inputs
}

func hostKey() Schema {
	var list [2]uint32
	importKey(&list)
	return liftSchema(list[0], list[1])
}

func hostDue() *dueTimes {
	var lists [4]uint32
	importDue(&lists)
	return &dueTimes{ends: abi.Bytes(lists[0], lists[1]), times: timesOf(abi.Bytes(lists[2], lists[3]))}
}

func hostSetTimer(group uint32, at Timestamp)    { importSet(group, int64(at)) }
func hostCancelTimer(group uint32, at Timestamp) { importCancel(group, int64(at)) }
func hostLog(level Level, line string)           { importWrite(int32(level), line) }
func hostCount(counter string, amount uint64)    { importAdd(counter, amount) }

func hostReadFile(name string) ([]byte, error) {
	var size [2]uint64
	importSize(name, &size)
	if size[0]&0xff != 0 {
		return nil, ConfigError(abi.String(uint32(size[1]), uint32(size[1]>>32)))
	}
	total := size[1]
	if total > 1<<31 {
		return nil, ConfigError("the file `" + name + "` is too large")
	}
	content := make([]byte, 0, total)
	// The host may return a large file in pieces.
	for uint64(len(content)) < total {
		var piece [3]uint32
		importRead(name, uint64(len(content)), uint32(total-uint64(len(content))), &piece)
		if piece[0]&0xff != 0 {
			return nil, ConfigError(abi.String(piece[1], piece[2]))
		}
		if piece[2] == 0 {
			return nil, internalf("the file `%s` ended at %d of %d bytes", name, len(content), total)
		}
		content = append(content, abi.Bytes(piece[1], piece[2])...)
	}
	return content, nil
}
