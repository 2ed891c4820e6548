<?php

// One long-lived client of AsyncAws; see ../README.md for what it reads and prints.

require 'AsyncAws/Core/autoload.php';

use AsyncAws\Core\Sts\StsClient;

$sts = null;
while (fgets(STDIN) !== false) {
    try {
        // It does not know AWS_ENDPOINT_URL.
        $sts ??= new StsClient(['region' => getenv('AWS_REGION'), 'endpoint' => getenv('CLIENT_ENDPOINT')]);
        $answer = ['ok' => true, 'arn' => $sts->getCallerIdentity()->getArn()];
    } catch (Throwable $error) {
        $answer = ['ok' => false, 'error' => get_class($error) . ': ' . $error->getMessage()];
    }
    echo json_encode($answer), "\n";
}
