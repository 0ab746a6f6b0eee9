// Verify signed messages with go-jose, every signature by itself: jose < CASES
// CASES is a JSON list of {"message", "keys": {kid: JWK}}. Prints a JSON list: for each message a list of true and
// false, one for each of its signatures; or null for a message that go-jose cannot parse.
package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/go-jose/go-jose/v3"
)

type testCase struct {
	Message string                     `json:"message"`
	Keys    map[string]json.RawMessage `json:"keys"`
}

// RFC 9864 calls the algorithm Ed25519. go-jose knows its older name, EdDSA, alone: a verifier of our own over
// crypto/ed25519 stands in for that one step; what is signed is still put together by go-jose.
type verifier struct{ key ed25519.PublicKey }

func (v verifier) VerifyPayload(payload, signature []byte, alg jose.SignatureAlgorithm) error {
	if alg != "Ed25519" || !ed25519.Verify(v.key, payload, signature) {
		return errors.New("signature does not verify")
	}
	return nil
}

func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	results := make([][]bool, len(cases))
	for i, each := range cases {
		results[i] = verifyAll(each)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}

func verifyAll(each testCase) []bool {
	message, err := jose.ParseSigned(each.Message)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return nil
	}
	results := []bool{}
	for _, signature := range message.Signatures {
		// VerifyMulti is content with one signature that holds: each is asked for alone.
		alone := *message
		alone.Signatures = []jose.Signature{signature}
		results = append(results, verifyOne(&alone, each.Keys[signature.Protected.KeyID]))
	}
	return results
}

func verifyOne(message *jose.JSONWebSignature, raw json.RawMessage) bool {
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(raw, &jwk); err != nil {
		return false
	}
	var key interface{} = jwk.Key
	if public, ok := jwk.Key.(ed25519.PublicKey); ok {
		key = verifier{public}
	}
	_, _, _, err := message.VerifyMulti(key)
	return err == nil
}
