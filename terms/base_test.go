package terms

import (
	"errors"
	"strings"
	"testing"
)

func TestABaseIsGovernedByItsLicence(t *testing.T) {
	for _, c := range []struct {
		base        Base
		distributed bool
		row         string
		want        Decision
	}{
		{Base{License: "apache-2.0"}, true, "apache-2.0", Allow},
		{Base{License: " MIT "}, true, "mit", Allow},
		{Base{License: "llama3.2"}, true, "llama-3.2", Allow},
		{Base{License: "llama3"}, true, "base-llama-3", Allow},
		{Base{License: "gemma"}, false, "gemma", Review},
		{Base{License: "qwen-research"}, false, "qwen-research", Review},
		{Base{License: "cc-by-nc-4.0"}, false, "cc-by-nc", Review},
		{Base{License: "cc-by-nd-4.0"}, false, "no-derivatives", Allow},
		{Base{License: "cc-by-nd-4.0"}, true, "no-derivatives", Block},
		{Base{}, false, unknownID, Review},
		{Base{License: "house rules"}, false, unknownID, Review},
		{Base{License: "house rules", Row: OwnModel}, true, OwnModel, Allow},
		{Base{Row: "apache-2.0"}, true, "apache-2.0", Allow},
	} {
		row, err := Default().LookupBase(c.base)
		if err != nil {
			t.Fatal(err)
		}
		if v := Gate(row, Use{Distributed: c.distributed}, Adapt); row.ID != c.row || v.Decision != c.want {
			t.Errorf("%+v, distributed %t: row %q says %s, want row %q and %s", c.base, c.distributed, row.ID, v.Decision, c.row, c.want)
		}
	}
}

func TestAStatementDoesNotSetABasesLicenceAside(t *testing.T) {
	if _, err := Default().LookupBase(Base{License: "cc-by-nc-4.0", Row: OwnModel}); err == nil || !strings.Contains(err.Error(), "cc-by-nc") {
		t.Errorf("passes with %v", err)
	}
	if _, err := Default().LookupBase(Base{Row: "nothing"}); !errors.Is(err, ErrUnknownRow) {
		t.Errorf("an unknown row gives %v", err)
	}
}

func TestARefusedBaseSaysWhatToDo(t *testing.T) {
	for license, want := range map[string]string{
		"":             "student: {terms: ROW}",
		"cc-by-nc-4.0": "overrides: [{row: cc-by-nc, actions: [adapt], basis:",
	} {
		row, err := Default().LookupBase(Base{License: license})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Require(row, Use{}, Adapt)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "adapting its weights is not allowed") {
			t.Errorf("licence %q is refused with %v, want %q in it", license, err, want)
		}
	}
}
