package tokens

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	// ErrExists: there is a file at that path, and a key file is never overwritten by a new one.
	ErrExists = errors.New("file exists")
	// ErrBusy: another command is changing the key file. Nothing was changed.
	ErrBusy = errors.New("key file is being changed")
	// ErrNoSuchKey: the key file has no key of that id. Nothing was changed.
	ErrNoSuchKey = errors.New("no such key")
	// ErrSigning: the key signs, and cannot be retired before another one does. Nothing was changed.
	ErrSigning = errors.New("key signs")
	// ErrOtherLedger: the key file signs for another ledger.
	ErrOtherLedger = errors.New("keys of another ledger")
)

// NewKey says what key is to be made. A zero field has the default in its comment.
type NewKey struct {
	Alg    Alg       // HS256 in a new file, otherwise that of the key which signs now
	Now    time.Time // when it is made; zero: not recorded
	Random io.Reader // crypto/rand.Reader
	// InLedger says that a new file lies in a ledger's folder. Made by root it is the folder's owner's, as all else there is.
	InLedger bool
}

// CreateFile writes a new key file with one new key that signs, readable by its owner only, and returns once it is durable.
// If there is a file at path already, whatever it is, that stays as it is and the error is ErrExists.
func CreateFile(path string, n NewKey) (KeyInfo, error) {
	if n.Alg == "" {
		n.Alg = HS256
	}
	k, err := n.make(&jwkSet{})
	if err != nil {
		return KeyInfo{}, fmt.Errorf("creating %s: %w", path, err)
	}
	err = change(path, func(file *os.File) (*jwkSet, error) {
		switch _, err := os.Lstat(path); {
		case err == nil:
			return nil, ErrExists
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		if n.InLedger {
			if err := giveAway(file, filepath.Dir(path)); err != nil {
				return nil, err
			}
		}
		return &jwkSet{Keys: []jwk{k}}, nil
	})
	if err != nil {
		return KeyInfo{}, fmt.Errorf("creating %s: %w", path, err)
	}
	return k.info(), nil
}

// RotateFile adds a new key that signs to the key file, and returns once it is durable. The key that signed until
// then only verifies from now on; of an EdDSA key the private half is forgotten.
//
// The error is ErrBusy while another change is under way, and ErrNoSigningKey for a file that is there for verifying only.
func RotateFile(path string, n NewKey) (KeyInfo, error) {
	var k jwk
	err := edit(path, func(set *jwkSet) error {
		i := slices.IndexFunc(set.Keys, func(j jwk) bool { return j.signs() })
		if i < 0 {
			return fmt.Errorf("%w: rotate where the key is that signs", ErrNoSigningKey)
		}
		former := &set.Keys[i]
		if n.Alg == "" {
			n.Alg = former.Alg
		}
		former.Ops, former.D = []string{"verify"}, ""
		var err error
		if k, err = n.make(set); err != nil {
			return err
		}
		set.Keys = slices.Insert(set.Keys, 0, k)
		return nil
	})
	if err != nil {
		return KeyInfo{}, fmt.Errorf("rotating the keys of %s: %w", path, err)
	}
	return k.info(), nil
}

// RetireFile removes a key from the key file, and returns once that is durable. All tokens that the key signed are
// invalid from then on, so it is for keys whose last token has expired, or whose secret is no longer one.
//
// The error is ErrNoSuchKey, ErrSigning for the key that signs, or ErrBusy while another change is under way.
func RetireFile(path, id string) error {
	err := edit(path, func(set *jwkSet) error {
		i := slices.IndexFunc(set.Keys, func(j jwk) bool { return j.Kid == id })
		if i < 0 {
			return ErrNoSuchKey
		}
		if set.Keys[i].signs() {
			return &HintError{ErrSigning, "poe keys rotate " + Quoted(path)}
		}
		set.Keys = slices.Delete(set.Keys, i, i+1)
		return nil
	})
	if err != nil {
		return fmt.Errorf("retiring key %.40q of %s: %w", id, path, err)
	}
	return nil
}

// BindFile writes into the key file which ledger its keys sign for, and returns once that is durable. From then on it is refused for every
// other ledger, so that who keeps his keys elsewhere notices a ledger that is not the one it was. A file that names that ledger already is
// left as it is; one that names another is ErrOtherLedger, and a change that is under way ErrBusy.
func BindFile(path, ledger string) error {
	err := edit(path, func(set *jwkSet) error {
		switch set.Ledger {
		case "":
			set.Ledger = ledger
			return nil
		case ledger:
			return errUnchanged
		default:
			return fmt.Errorf("%w: it signs for %s", ErrOtherLedger, set.Ledger)
		}
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return fmt.Errorf("writing into %s which ledger it signs for: %w", path, err)
	}
	return nil
}

// ReleaseFile takes out of the key file which ledger its keys sign for, and returns once that is durable: the next ledger that they are
// used for has them then. It returns the ledger that they signed for, "" where the file named none.
func ReleaseFile(path string) (ledger string, err error) {
	err = edit(path, func(set *jwkSet) error {
		if ledger = set.Ledger; ledger == "" {
			return errUnchanged
		}
		set.Ledger = ""
		return nil
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return "", fmt.Errorf("releasing %s from its ledger: %w", path, err)
	}
	return ledger, nil
}

// errUnchanged ends a change that has nothing to do.
var errUnchanged = errors.New("nothing to change")

// LedgerOf returns the ledger that the key file says it signs for, "" where it names none. The errors are those of OpenFile.
func LedgerOf(path string) (string, error) {
	content, _, err := readKeyFile(path)
	if err != nil {
		return "", err
	}
	keys, err := ParseKeys(content)
	if err != nil {
		return "", unreadable(path, err)
	}
	return keys.ledger, nil
}

// ListFile returns what may be shown of the keys in the key file. The errors are those of OpenFile.
func ListFile(path string) ([]KeyInfo, error) {
	content, _, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := ParseKeys(content)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return keys.List(), nil
}

// make returns a new key whose id no key of set has.
func (n NewKey) make(set *jwkSet) (jwk, error) {
	if n.Random == nil {
		n.Random = rand.Reader
	}
	k, err := newJWK(n.Alg, n.Now, n.Random)
	if err != nil {
		return jwk{}, err
	}
	if slices.ContainsFunc(set.Keys, func(j jwk) bool { return j.Kid == k.Kid }) {
		return jwk{}, fmt.Errorf("random key id %q is in use: the source of randomness repeats itself", k.Kid)
	}
	return k, nil
}

// edit changes an existing key file. What it does not know in the file it keeps.
func edit(path string, by func(*jwkSet) error) error {
	// A link stays one: the file that it leads to is replaced.
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return noKeyFile(path, fmt.Errorf("no key file: %w", err))
	}
	if err != nil {
		return err
	}
	return change(target, func(file *os.File) (*jwkSet, error) {
		content, info, err := readKeyFile(target)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(keepOwner(file, info), file.Chmod(info.Mode().Perm())); err != nil {
			return nil, err
		}
		if _, err := ParseKeys(content); err != nil {
			return nil, unreadable(target, err)
		}
		set, err := decodeSet(content)
		if err != nil {
			return nil, err
		}
		return set, by(set)
	})
}

// change writes to path what next returns, atomically and durably, and nothing if next fails. next may set the new
// file's owner.
func change(path string, next func(*os.File) (*jwkSet, error)) error {
	if err := replace(path, next); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close()) // makes the renaming durable
}

// replace writes to path.lock, which only one process can have, and renames that: from the reading of the old content
// to the renaming there is one writer, so no rotation is lost. A lock that waits for its owner was turned down:
// the loser of such a race is a person, who should look before rotating twice. What a process that died has left is taken over.
func replace(path string, next func(*os.File) (*jwkSet, error)) (err error) {
	lock := path + ".lock"
	file, err := exclusive(lock)
	if errors.Is(err, ErrBusy) {
		return &HintError{fmt.Errorf("%w: somebody has %s", ErrBusy, lock), busyHint(lock)}
	}
	if err != nil {
		return err
	}
	set, err := next(file)
	if err == nil {
		err = write(file, set)
	}
	return leave(file, func() error {
		if err == nil {
			err = os.Rename(lock, path)
		}
		if err != nil {
			err = errors.Join(err, os.Remove(lock))
		}
		return err
	})
}

// write writes the set, checked, and returns once it is on the disk.
func write(file *os.File, set *jwkSet) error {
	b, err := json.Marshal(set, jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("encoding keys: %w", err)
	}
	if _, err := ParseKeys(b); err != nil {
		return err
	}
	if _, err := file.Write(append(b, '\n')); err != nil {
		return err
	}
	return file.Sync()
}
