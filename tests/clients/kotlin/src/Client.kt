import aws.sdk.kotlin.services.sts.StsClient
import aws.smithy.kotlin.runtime.client.ProtocolRequestInterceptorContext
import aws.smithy.kotlin.runtime.http.interceptors.HttpInterceptor
import aws.smithy.kotlin.runtime.http.request.HttpRequest
import kotlinx.coroutines.runBlocking

private class SignedWith : HttpInterceptor {
    @Volatile var key = ""

    override fun readBeforeTransmit(context: ProtocolRequestInterceptorContext<Any, HttpRequest>) {
        key = Protocol.key(context.protocolRequest.headers["Authorization"])
    }
}

/** A long-lived client of the AWS SDK for Kotlin. */
fun main() {
    val signed = SignedWith()
    val sts = runBlocking { StsClient.fromEnvironment { interceptors = mutableListOf(signed) } }
    sts.use {
        Protocol.serve {
            runBlocking { sts.getCallerIdentity() }
            signed.key
        }
    }
}
