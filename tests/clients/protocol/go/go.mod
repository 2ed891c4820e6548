module credential-relay.example/clients/protocol

go 1.25
