package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/hashicorp/go-hclog"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetesauth "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/builtin/credential/approle"
	awsauth "github.com/hashicorp/vault/builtin/credential/aws"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/credential/userpass"
	"github.com/hashicorp/vault/builtin/logical/aws"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
	"github.com/hashicorp/vault/version"
)

var (
	secretEngines = map[string]logical.Factory{"aws": aws.Factory}
	authMethods   = map[string]logical.Factory{
		"approle":    approle.Factory,
		"aws":        awsauth.Factory,
		"cert":       cert.Factory,
		"jwt":        jwtauth.Factory,
		"kubernetes": kubernetesauth.Factory,
		"userpass":   userpass.Factory,
	}
)

type startedVault struct {
	handler    http.Handler
	rootToken  string
	unsealKeys []string
	version    string
}

// startVault gives a Vault of the community edition that is initialised, unsealed and empty.
func startVault(ctx context.Context, o options, address string, log hclog.Logger) (*startedVault, error) {
	storage, err := inmem.NewInmem(nil, log.Named("storage"))
	if err != nil {
		return nil, err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		StorageType:        "inmem",
		Logger:             log,
		LogicalBackends:    secretEngines,
		CredentialBackends: authMethods,
		BuiltinRegistry:    registry{},
		DisableMlock:       true,
		RedirectAddr:       address,
		DevToken:           o.rootToken,
		DefaultLeaseTTL:    o.defaultLeaseTTL,
		MaxLeaseTTL:        o.maxLeaseTTL,
		RollbackPeriod:     o.rollbackPeriod,
	})
	if err != nil {
		return nil, err
	}
	ctx = namespace.ContextWithNamespace(ctx, namespace.RootNamespace)
	made, err := core.Initialize(ctx, &vault.InitParams{
		BarrierConfig:  &vault.SealConfig{SecretShares: 1, SecretThreshold: 1},
		RecoveryConfig: &vault.SealConfig{},
	})
	if err != nil {
		return nil, err
	}
	// Unseal clears the key that it is given.
	if unsealed, err := core.Unseal(slices.Clone(made.SecretShares[0])); err != nil || !unsealed {
		return nil, fmt.Errorf("unsealing: %t, %w", unsealed, err)
	}
	root := made.RootToken
	if o.rootToken != "" {
		if root, err = chooseRootToken(ctx, core, root, o.rootToken); err != nil {
			return nil, err
		}
	}
	started := &startedVault{
		handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{Type: configutil.TCP, Address: address},
		}),
		rootToken: root,
		version:   version.GetVersion().Version,
	}
	for _, share := range made.SecretShares {
		started.unsealKeys = append(started.unsealKeys, base64.StdEncoding.EncodeToString(share))
	}
	return started, nil
}

// chooseRootToken puts a root token with the id that the caller wants in the place of the one that Vault made.
func chooseRootToken(ctx context.Context, core *vault.Core, made, wanted string) (string, error) {
	answer, err := core.HandleRequest(ctx, &logical.Request{
		ID:          "choose-root-token",
		Operation:   logical.UpdateOperation,
		ClientToken: made,
		Path:        "auth/token/create",
		Data: map[string]any{
			"id":                wanted,
			"policies":          []string{"root"},
			"no_parent":         true,
			"no_default_policy": true,
		},
	})
	if err != nil {
		return "", err
	}
	if answer == nil || answer.Auth == nil {
		return "", errors.New("no root token was made")
	}
	_, err = core.HandleRequest(ctx, &logical.Request{
		ID:          "revoke-first-root-token",
		Operation:   logical.UpdateOperation,
		ClientToken: made,
		Path:        "auth/token/revoke-self",
	})
	return answer.Auth.ClientToken, err
}

// registry is what Vault looks plugins up in: those above, and no more, so that nothing else need be compiled.
type registry struct{}

func ofType(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return secretEngines
	case consts.PluginTypeCredential:
		return authMethods
	default:
		return nil
	}
}

func (registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	factory, found := ofType(kind)[name]
	return func() (any, error) { return factory, nil }, found
}

func (registry) Contains(name string, kind consts.PluginType) bool {
	_, found := ofType(kind)[name]
	return found
}

func (registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range ofType(kind) {
		names = append(names, name)
	}
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
