# Run by `rails runner` in a new Redmine: people, a project and rights as docs/tickets/redmine.md has them.
given = JSON.parse(File.read(ENV.fetch('PROBLEM_SNAPSHOT_SEED')))

Setting.rest_api_enabled = '1'
Setting.text_formatting = given['formatting']
Setting.login_required = '1'
Setting.default_language = 'en'

rights = {
  'Customer' => %i[view_issues add_issues add_issue_notes edit_own_issues],
  'Agent' => %i[view_issues add_issues edit_issues add_issue_notes edit_issue_notes view_private_notes set_notes_private delete_issues],
  'Snapshots' => %i[view_issues edit_issues add_issue_notes edit_own_issue_notes view_private_notes set_notes_private],
  'Careless' => %i[view_issues edit_issues add_issue_notes edit_own_issue_notes]
}
roles = rights.to_h { |name, permissions| [name, Role.create!(name: name, permissions: permissions, issues_visibility: 'all')] }

project = Project.new(name: 'Support', identifier: 'support', is_public: false)
project.enabled_module_names = ['issue_tracking']
project.trackers = Tracker.all
project.save!

{ 'Fault class' => ['Agent', 'Snapshots'], 'Order number' => [] }.each do |name, only|
  field = IssueCustomField.new(name: name, field_format: 'string', is_for_all: true, visible: only.empty?)
  field.trackers = Tracker.all
  field.roles = only.map { |role| roles[role] }
  field.save!
end

{ 'customer' => 'Customer', 'agent' => 'Agent', 'problem-snapshot' => 'Snapshots', 'careless' => 'Careless' }.each do |login, role|
  user = User.new(firstname: login, lastname: 'Test', mail: "#{login}@example.com", language: 'en')
  user.login = login
  user.password = user.password_confirmation = given['password']
  user.save!
  Token.where(user_id: user.id, action: 'api').delete_all
  Token.create!(user: user, action: 'api').update_columns(value: given['keys'][login])
  Member.create!(project: project, principal: user, roles: [roles[role]])
end

# Default workflows are for the roles that came with Redmine.
IssueStatus.all.to_a.product(IssueStatus.all.to_a, Tracker.all.to_a, roles.values).each do |old, new, tracker, role|
  WorkflowTransition.create!(old_status: old, new_status: new, tracker: tracker, role: role) unless old == new
end
