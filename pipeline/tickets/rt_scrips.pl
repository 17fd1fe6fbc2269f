# Scrips for Request Tracker 5, put in by `rt-setup-database-5 --action insert --skip-create --datafile rt_scrips.pl`.
# Putting them in again replaces them. The settings they read are in docs/tickets/rt.md:
#
#   $ProblemSnapshotUrl         where a hook is posted to, https://snapshots.example/hooks/rt
#   $ProblemSnapshotSecretFile  a file that holds the secret the post is signed with, readable by RT only
#   $ProblemSnapshotUser        the name of the RT user that writes the notes; problem-snapshot where it is not set
#   $ProblemSnapshotTimeout     seconds that a post may take at most, 2 where it is not set
#
# 1 tells the receiver, after RT has committed: nothing that fails here fails the ticket. 2 keeps one note per ticket: a newer
# note's text and files move into the older note, and the newer one goes. 3 keeps the mail of such a change back.
use strict;
use warnings;

my $hook    = 'problem-snapshot 1: tell of new and changed tickets';
my $replace = 'problem-snapshot 2: a newer note replaces the older one';
my $quiet   = 'problem-snapshot 3: a changed note sends no mail';

our @Initial = (
    sub {
        my $old = RT::Scrips->new( RT->SystemUser );
        $old->Limit( FIELD => 'Description', OPERATOR => 'STARTSWITH', VALUE => 'problem-snapshot ' );
        while ( my $scrip = $old->Next ) { $scrip->Delete }
    },
);

# What several of them ask. Scrips share no code in RT, so it stands at the head of each.
my $ours = <<'PERL';
my $user = RT->Config->Get('ProblemSnapshotUser') || 'problem-snapshot';
# The marker of a note, where it is a comment of our user. A colleague who quotes a note keeps their comment.
my $marker = sub {
    my $txn = shift;
    return undef unless $txn->Type eq 'Comment' && lc $txn->CreatorObj->Name eq lc $user;
    my $parts = $txn->Attachments;
    $parts->GotoFirstItem;
    while ( my $part = $parts->Next ) {
        next if $part->Filename || ( $part->ContentType || '' ) !~ m{^text/}i;
        my $text = $part->OriginalContent;
        return $1 if defined $text && $text =~ /(problem-snapshot:[0-9a-f]{16})/;
    }
    return undef;
};
# All notes of a ticket with that marker, the oldest first.
my $notes = sub {
    my ( $ticket, $wanted ) = @_;
    my $txns = RT::Transactions->new( RT->SystemUser );
    $txns->Limit( FIELD => 'ObjectType', VALUE => 'RT::Ticket' );
    $txns->Limit( FIELD => 'ObjectId', VALUE => $ticket->id );
    $txns->Limit( FIELD => 'Type', VALUE => 'Comment' );
    $txns->OrderBy( FIELD => 'id', ORDER => 'ASC' );
    return grep { ( $marker->($_) // '' ) eq $wanted } @{ $txns->ItemsArrayRef };
};
PERL

my $told = <<'PERL';
my $user = RT->Config->Get('ProblemSnapshotUser') || 'problem-snapshot';
my %kinds = ( Create => 'created', Correspond => 'replied', Comment => 'commented', CustomField => 'updated' );
my $kind = sub {
    my $txn = shift;
    return undef if lc $txn->CreatorObj->Name eq lc $user;
    return $kinds{ $txn->Type } if $kinds{ $txn->Type };
    return 'updated' if $txn->Type eq 'Set' && ( $txn->Field || '' ) =~ /^(?:Subject|Queue)$/;
    # For the desk's clock: what a ticket's state is, who has it, how urgent it is said to be.
    return 'state' if $txn->Type eq 'Status';
    return 'state' if ( $txn->Field || '' ) =~ /^(?:Owner|Priority)$/;
    return undef;
};
my @due = grep { $kind->($_) } @{ $self->TicketObj->TransactionBatch || [] };
# A reply that solves the ticket is a reply: who tells something new is told of first.
@due = ( ( grep { $kind->($_) ne 'state' } @due ), ( grep { $kind->($_) eq 'state' } @due ) );
PERL

our @Scrips = (
    {
        Queue       => 0,
        Description => $hook,
        # After RT has committed: the ticket can be read by then, and is there whatever becomes of the post.
        Stage                  => 'TransactionBatch',
        ScripCondition         => 'User Defined',
        ScripAction            => 'User Defined',
        Template               => 'Blank',
        CustomIsApplicableCode => $told . <<'PERL',
return RT->Config->Get('ProblemSnapshotUrl') && @due ? 1 : 0;
PERL
        CustomPrepareCode => 'return 1;',
        CustomCommitCode  => $told . <<'PERL',
my $done = eval {
    require Digest::SHA;
    require HTTP::Tiny;
    require JSON;
    my $ticket = $self->TicketObj;
    my $file = RT->Config->Get('ProblemSnapshotSecretFile') or die "ProblemSnapshotSecretFile is not set\n";
    open( my $handle, '<', $file ) or die "$file cannot be read: $!\n";
    my $secret = <$handle>;
    close $handle;
    $secret = '' unless defined $secret;
    $secret =~ s/^\s+|\s+$//g;
    die "$file holds no secret\n" unless length $secret;

    # The first of what happened in one request: a ticket that is created with a custom field was created.
    my ($txn) = @due;
    my $said = $txn->HasContent ? eval { $txn->Content( Type => 'text/plain' ) } : undef;
    my $body = JSON::to_json(
        {   type      => 'ticket.' . $kind->($txn),
            timestamp => $txn->CreatedObj->W3CDTF( Timezone => 'UTC' ),
            data      => {
                ticket => {
                    id      => $ticket->id + 0,
                    subject => $ticket->Subject,
                    status  => $ticket->Status,
                    queue   => $ticket->QueueObj->Name,
                    created => $ticket->CreatedObj->W3CDTF( Timezone => 'UTC' ),
                },
                transaction => { id => $txn->id + 0, type => $txn->Type, creator => $txn->CreatorObj->Name },
                # Enough to put the urgent ones first; the whole ticket is read again.
                content => defined $said ? substr( $said, 0, 8000 ) : '',
            },
        },
        { utf8 => 1, canonical => 1 }
    );
    # Signed as https://www.standardwebhooks.com asks: id, time and body, joined by dots.
    # SQLite gives the id of a deleted row again, so the id says when as well.
    my ( $id, $now ) = ( join( '-', 'rt', RT->Config->Get('Organization'), $txn->id, $txn->CreatedObj->Unix ), time );
    $id =~ s/[^A-Za-z0-9.-]/_/g;
    my $signature = Digest::SHA::hmac_sha256_base64( "$id.$now.$body", $secret );
    $signature .= '=' while length($signature) % 4;

    my $limit = RT->Config->Get('ProblemSnapshotTimeout') || 2;
    # HTTP::Tiny's limit is one read's; the alarm is that of all of them.
    local $SIG{ALRM} = sub { die "no answer within $limit s\n" };
    alarm( int($limit) + 1 );
    my $answer = HTTP::Tiny->new( timeout => $limit, max_redirect => 0, max_size => 65536, verify_SSL => 1 )->post(
        RT->Config->Get('ProblemSnapshotUrl'),
        {   content => $body,
            headers => {
                'Content-Type'      => 'application/json',
                'webhook-id'        => $id,
                'webhook-timestamp' => $now,
                'webhook-signature' => "v1,$signature",
            },
        }
    );
    alarm(0);
    die "$answer->{status} $answer->{reason}" . ( $answer->{status} == 599 ? ": $answer->{content}" : '' ) . "\n"
        unless $answer->{success};
    1;
};
my $error = $@;
alarm(0);
RT->Logger->warning( 'problem-snapshot was not told of ticket ' . $self->TicketObj->id . ": $error" ) unless $done;
return 1;
PERL
    },
    {
        Queue                  => 0,
        Description            => $replace,
        Stage                  => 'TransactionBatch',
        ScripCondition         => 'User Defined',
        ScripAction            => 'User Defined',
        Template               => 'Blank',
        CustomIsApplicableCode => $ours . <<'PERL',
return ( grep { defined $marker->($_) } @{ $self->TicketObj->TransactionBatch || [] } ) ? 1 : 0;
PERL
        CustomPrepareCode => 'return 1;',
        CustomCommitCode  => $ours . <<'PERL',
my %markers = map { $_ => 1 } grep { defined } map { $marker->($_) } @{ $self->TicketObj->TransactionBatch };
for my $wanted ( sort keys %markers ) {
    $RT::Handle->BeginTransaction;
    my $done = eval {
        # Two notes at once wait for each other here; SQLite has one writer anyway.
        my $locked = RT::Ticket->new( RT->SystemUser );
        $locked->LockForUpdate( $self->TicketObj->id );
        my @all    = $notes->( $self->TicketObj, $wanted );
        my $kept   = shift @all;
        my $newest = @all ? pop @all : $kept;
        if ( $newest->id != $kept->id ) {
            for my $part ( @{ $kept->Attachments->ItemsArrayRef } ) {
                my ( $ok, $why ) = $part->Delete;
                die "attachment cannot be deleted: $why\n" unless $ok;
            }
            # The parts move as they are, with their encodings and headers.
            for my $part ( @{ $newest->Attachments->ItemsArrayRef } ) {
                my ( $ok, $why ) = $part->__Set( Field => 'TransactionId', Value => $kept->id );
                die "attachment cannot be moved: $why\n" unless $ok;
            }
            for my $gone ( @all, $newest ) {
                # What was read before the parts moved is not to be deleted with it.
                my $txn = RT::Transaction->new( RT->SystemUser );
                $txn->Load( $gone->id );
                for my $attribute ( @{ $txn->Attributes->ItemsArrayRef } ) { $attribute->Delete }
                my ( $ok, $why ) = $txn->Delete;
                die "comment cannot be deleted: $why\n" unless $ok;
            }
        }
        # By this header the writer knows that a note can be changed here.
        my $now = RT::Transaction->new( RT->SystemUser );
        $now->Load( $kept->id );
        my $first = $now->Attachments->First;
        $first->SetHeader( 'X-Problem-Snapshot', 'changes-in-place' ) if $first && !$first->GetHeader('X-Problem-Snapshot');
        1;
    };
    my $error = $@;
    if ($done) {
        $RT::Handle->Commit;
    }
    else {
        $RT::Handle->Rollback;
        RT->Logger->error( 'problem-snapshot: the note on ticket ' . $self->TicketObj->id . " was not replaced: $error" );
    }
}
return 1;
PERL
    },
    {
        Queue                  => 0,
        Description            => $quiet,
        Stage                  => 'TransactionCreate',
        ScripCondition         => 'User Defined',
        ScripAction            => 'User Defined',
        Template               => 'Blank',
        CustomIsApplicableCode => $ours . <<'PERL',
my $wanted = $marker->( $self->TransactionObj );
return 0 unless defined $wanted;
return $notes->( $self->TicketObj, $wanted ) > 1 ? 1 : 0;
PERL
        # Before RT's own scrips gather their recipients, so it has to stand before them; see @Final.
        CustomPrepareCode => <<'PERL',
my %addresses;
for my $object ( $self->TicketObj, $self->TicketObj->QueueObj ) {
    for my $role ( $object->Roles ) {
        my $group = $object->RoleGroup($role);
        next unless $group && $group->id;
        for my $member ( @{ $group->UserMembersObj->ItemsArrayRef } ) {
            $addresses{ $member->EmailAddress } = 1 if $member->EmailAddress;
        }
    }
}
for my $address ( sort keys %addresses ) {
    $self->TransactionObj->AddAttribute( Name => 'SquelchMailTo', Content => $address );
}
return 1;
PERL
        CustomCommitCode => 'return 1;',
    },
);

our @Final = (
    sub {
        my $scrips = RT::Scrips->new( RT->SystemUser );
        $scrips->Limit( FIELD => 'Description', VALUE => $quiet );
        my $scrip = $scrips->First or return;
        my $added = RT::ObjectScrips->new( RT->SystemUser );
        $added->Limit( FIELD => 'Scrip', VALUE => $scrip->id );
        my $place = $added->First or return;
        # Down to the first place, one by one, which is how RT moves them.
        for ( 1 .. 1000 ) {
            my ($moved) = $place->MoveUp;
            last unless $moved;
        }
    },
);

1;
