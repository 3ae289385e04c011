package export

import (
	"fmt"
	"strings"

	"retort/internal/modelfile"
	"retort/student/base"
	"retort/student/model"
)

// Narrowed returns the model that a GGUF of m holds whose matrices are of type typ: m
// with every weight rounded as the file has it, to be scored. layout is the file's.
func Narrowed(m *model.Model, typ modelfile.Type, layout Layout) (*model.Model, error) {
	if _, ok := fileTypes[typ]; !ok {
		return nil, fmt.Errorf("narrowing a model: GGUF type %q is unknown", typ)
	}
	c, out := m.Config(), m.Clone()
	for _, t := range out.Tensors() {
		var err error
		if layout != Legacy && strings.HasSuffix(t.Name, kvbName) {
			err = narrowKVB(c, typ, t)
		} else {
			err = ggufType(c, typ, t.Name, t.Shape).Round(t.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("narrowing a model: tensor %s: %w", t.Name, err)
		}
	}
	return out, nil
}

// narrowKVB rounds the latent's up-projection where its keys lie transposed.
func narrowKVB(c model.Config, typ modelfile.Type, t model.Tensor) error {
	k, v := base.DivideKVB(c, t.Data)
	keys, values := base.KVBShapes(c)
	if err := ggufType(c, typ, t.Name, keys).Round(k); err != nil {
		return err
	}
	if err := ggufType(c, typ, t.Name, values).Round(v); err != nil {
		return err
	}
	base.JoinKVB(c, t.Data, k, v)
	return nil
}
