# One long-lived client of the AWS SDK for Ruby; see ../README.md for what it reads and prints.

require "aws-sdk-core"
require "json"

# It does not know AWS_ENDPOINT_URL. The credentials are resolved when the client is made.
def client
  @client ||= Aws::STS::Client.new(endpoint: ENV.fetch("CLIENT_ENDPOINT"), region: ENV.fetch("AWS_REGION"))
end

$stdout.sync = true
while $stdin.gets
  begin
    puts JSON.generate(ok: true, arn: client.get_caller_identity.arn)
  rescue StandardError => error
    @client = nil
    puts JSON.generate(ok: false, error: "#{error.class}: #{error.message}")
  end
end
